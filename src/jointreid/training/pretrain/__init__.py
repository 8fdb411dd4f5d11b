"""Training a trunk on classes of images, for runs to start from."""

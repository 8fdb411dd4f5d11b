"""Features, exact ranking metrics and evaluation."""

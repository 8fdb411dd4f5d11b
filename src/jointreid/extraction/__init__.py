"""Features of any images, from a trained model: in memory (`Embedder`) and as a table on disk (`jointreid extract`)."""

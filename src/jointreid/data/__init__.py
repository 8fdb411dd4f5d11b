"""From files on disk to batches: records, manifests, readers, label space, sampling, images."""

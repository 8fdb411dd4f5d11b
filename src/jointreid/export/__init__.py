"""A trained model as one file that runs without jointreid: ONNX or PyTorch's saved program, with a proof."""

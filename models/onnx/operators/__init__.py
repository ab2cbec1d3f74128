"""What ONNX's operators compute, in torch: one table, a file a kind of operator."""

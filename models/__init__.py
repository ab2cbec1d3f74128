"""What a model is: one program around a graph of ATen operators, whatever file it came from."""

"""ONNX files: read without running them, and brought into the graph operator by operator.

`reading` looks at the bytes, `program` wires the nodes, `operators` says what each of them computes, `naming` finds the
modules that they stood in, `runtime` runs a file in onnxruntime: as the reference, and where a node is unknown.
"""

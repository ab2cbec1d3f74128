"""How operators of the graph are bounded, a file a family of operators."""

"""A second, plain program that evaluates proofs: nothing of it is shared with the search that found them."""

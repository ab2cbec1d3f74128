"""Explanations of a whole data set, told in one finding a method.

Data flow: `looking` explains shard by shard and keeps a row and a small map an image; `judged` counts what the measures
say; `spectral` groups the maps; `places` finds where a group looks and `leaning` tries, by exchanging that place alone,
whether the answers hang on it; `run` puts it together.
"""

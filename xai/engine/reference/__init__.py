"""Inputs beside a data set: its entries that are nearest to each, and those that its channels answer to most.

reading.py   one pass over the data, of which features and the highest so far are kept
nearest.py   what is said of one input's neighbours
strongest.py what is said of channels
run.py       inputs are noted as they are explained; then the data are read, and all is told
"""

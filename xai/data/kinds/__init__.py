"""Kinds of data sets: a file each, told apart by what stands in the files, or by what a live object is."""

"""Detectors, a file each: what is unlike the inputs that the model was made for?"""

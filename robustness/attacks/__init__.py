"""Attacks, one file each: what makes a model fail, and how little does it take?"""

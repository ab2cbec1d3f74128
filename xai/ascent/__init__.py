"""Pictures that are made by climbing: what the methods share that raise a number by changing a picture."""

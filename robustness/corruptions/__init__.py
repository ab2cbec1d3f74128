"""What weather, optics, sensors and file formats do to an input. One corruption a file; none of them asks the model."""

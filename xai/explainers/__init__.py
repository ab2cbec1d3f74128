"""What does the model look at? A method a file."""

"""What outputs can become: bounds that hold for every input of a region."""

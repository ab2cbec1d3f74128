"""Parts of a picture that are covered at random: which, by what, and how many times."""

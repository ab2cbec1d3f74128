"""What is a map worth? One measure a file; each tries to show that the map says nothing."""

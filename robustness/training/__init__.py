"""Training that makes a network robust: objectives, the loop, and what is watched meanwhile."""

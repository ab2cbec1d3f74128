"""What random noise tells of a network that is too large to bound: statistics of its smoothed classifier, no proof."""

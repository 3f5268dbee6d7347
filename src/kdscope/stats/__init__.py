"""Statistics: arrays in, small records out."""

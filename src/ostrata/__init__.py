"""ostrata."""

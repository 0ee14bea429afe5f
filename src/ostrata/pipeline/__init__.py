"""The stories, one module each: which floors work together, in which order."""

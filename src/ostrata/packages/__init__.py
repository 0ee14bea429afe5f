"""Package databases inside a tree: who owns which path, and when it changed."""

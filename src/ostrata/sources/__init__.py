"""Store -> tree: what a source consists of."""

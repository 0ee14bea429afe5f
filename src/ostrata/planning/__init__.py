"""What shares a layer: pure decisions, no I/O."""

"""Image -> somewhere: the record is written last."""

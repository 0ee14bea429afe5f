"""Bytes to values and back. Decoders raise MalformedError on any bytes that break their format, nothing else."""

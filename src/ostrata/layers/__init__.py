"""Tar members -> finished layer: hashing, compression."""

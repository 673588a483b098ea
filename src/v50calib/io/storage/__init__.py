"""Bytes: local paths and object stores, commits, Zarr groups; what the machine has."""

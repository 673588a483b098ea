"""The raw Zarr store that `ingest` writes."""

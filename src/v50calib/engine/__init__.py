"""The engine: from raw frames to light curves and products, visit by visit, chunk by chunk."""

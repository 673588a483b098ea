"""What a run directory holds and what can be asked of it."""

"""What must not be shared with other users of a machine."""

"""A folder with a detector.yaml: frames of any other detector, in a user's own array files."""

"""A folder with a detector.yaml: frames of any other detector, in arrays of one's own."""

"""Files of others, read by what they declare before anything is allocated for them."""

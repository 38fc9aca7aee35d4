"""Training sets on disk: written in shards, resumed, read, and counted."""

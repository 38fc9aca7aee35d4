"""Training pairs: drawn as numbers, rendered where they train."""

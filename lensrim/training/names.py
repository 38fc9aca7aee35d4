"""Names of the files of a training."""

LAST, HISTORY = "last.pt", "history.jsonl"

BEST, EMA = "best.safetensors", "ema.safetensors"
"""Averaged weights: those of the best validation loss, and the latest."""

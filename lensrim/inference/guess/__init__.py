"""The amortised start of the search: a small network reads the macro-model off an image."""

"""Standard tests of a reconstruction against systems whose truth is known."""

"""Morningstar et al. 2019: the source behind a known lens, and behind one that a network reads.

References:
    Morningstar et al. 2019, ApJ 883, 14, arXiv:1901.01359. Of its text we could look up the
    abstract, and of its network what public code says; its numbers and ranges were not found.
"""

"""Morningstar et al. 2018: lenses that an interferometer sees, without their dirty beam.

References:
    Morningstar et al. 2018, arXiv:1808.00011. Of its text we could look up the abstract: neither
    its numbers nor its ranges, nor the size of its network.
"""

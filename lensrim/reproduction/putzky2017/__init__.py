"""Putzky & Welling 2017: patches of images from random projections, noise, holes and few pixels.

References:
    Putzky & Welling 2017, arXiv:1706.04008. Numbers of its tables are those of the version on
    OpenReview (ICLR 2017).
"""

"""Adam et al. 2023: source and convergence of a lens together, on pixels, by one machine.

References:
    Adam, Perreault-Levasseur, Hezaveh & Welling 2023, ApJ 951, 6, arXiv:2301.04168. Of its text we
    could look up the abstract; its network, frames, ranges and results are those of the public
    code of its authors (Censai) and of what is stored with it.
"""

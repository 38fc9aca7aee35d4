"""Convergence maps of haloes from hydrodynamical simulations."""

"""A model of the haloes of lens galaxies: stars, dark matter, subhalos, line of sight."""

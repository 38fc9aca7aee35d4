"""How fast the simulator is: the same work by this package and by its peers, timed in turns."""

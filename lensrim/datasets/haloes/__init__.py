"""Banks of lenses whose mass is a map: of the halo model, or of simulated haloes."""

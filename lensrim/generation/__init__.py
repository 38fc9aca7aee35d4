"""Learnt generators: how autoencoders of sources and masses are trained, judged and used."""

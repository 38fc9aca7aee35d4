"""The recurrent inference machine: a learnt optimiser with memory, for any score."""

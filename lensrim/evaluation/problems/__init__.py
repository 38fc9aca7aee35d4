"""Three inverse problems that are not lensing, each with its rivals: examples of the machine."""

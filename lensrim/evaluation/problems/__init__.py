"""Three inverse problems that are not lensing: examples of the machine, each with its rivals.

    python -m lensrim.evaluation.problems linear|images|spectra

trains a machine, judges it and its rivals on draws that none has seen, and writes a table and a
figure. The rivals choose their settings, step lengths and weights of priors, on separate draws,
once for as many calls of the score as the machine makes and once for their end.
"""

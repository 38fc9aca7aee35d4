"""How well the program knows that it is wrong, and the score by which it does.

::

    python -m lensrim.evaluation.doubt cases --n 24 --output doubt    # goes on where it was
    python -m lensrim.evaluation.doubt fit --output doubt             # ROC curves, score.json
    python -m lensrim.evaluation.doubt fit --output doubt --package   # the same, as the package's

Right answers are many and wrong ones few, so wrong ones are made: the best answer with another
Einstein radius, observations that are spoilt, too faint, one-sided or given with a wrong PSF, and
galaxies that are no lenses.
"""

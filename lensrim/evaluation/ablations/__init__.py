"""Ablations: the machine for lenses, trained again with one thing changed at a time.

    python -m lensrim.evaluation.ablations ablations --scale small --max-minutes 60

trains each variant on the same lenses, one after the other, and writes ``table.txt`` and
``table.csv`` of all trainings in the folder that are at their end. Called again it goes on where
it was; ``--only`` and ``--seeds`` choose what is trained. The lenses are made once and kept in
``stock``: the first variant waits for them.

A small training tells which changes matter most, not what a long one would end with: the seeds of
the variant ``chosen`` tell by how much two trainings of the same differ.
"""

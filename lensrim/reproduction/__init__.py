"""Papers done again: one seeded recipe each, at two scales, and what came of it beside the paper.

    lensrim reproduce                               # lists them
    lensrim reproduce putzky2017 --scale small      # minutes on two cores
    torchrun --nproc-per-node 8 -m lensrim.cli reproduce putzky2017 --scale full

Each trains the machine *as published* and *ours* on the same batches, judges them on the same
unseen draws beside those who do without a machine, and writes the table *paper, as published,
ours, the others*, with all that differs from the paper in data or size.
"""

"""`perwatt bench ann`: our engine and every installable peer on the same vectors, queries and truth, in one run.

    vectors.py    what is searched: an .npy file, an index, a folder of vectors, or docstrings at hand
    engines.py    the table of engines: ours and the peers, and where each one's adapter is
    ours.py       adapters of perwatt
    ../peers/     adapters of the others
    worker.py     the process that one engine builds or serves in
    workers.py    those processes from outside: started, stopped, asked, buried
    sweep.py      from efforts to recall: the cheapest effort for a target
    race.py       interleaved rounds: queries a second
    targets.py    what was aimed for, and what was reached
    table.py      for a person to read
    deploy/figures/ann_picture.py    queries a second over recall, as SVG

An engine is built in one process and loaded from its own file in another, so that neither the leavings of a build nor
another library's OpenMP count, and a crash costs one row. While one engine is measured all others are stopped.

What it is not: a benchmark of services (perwatt loadtest), of filters, or of sets that do not fit in memory.
"""

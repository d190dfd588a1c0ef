"""Other people's benchmarks, run from their public sources on data of ours: perwatt beside another engine in each.

    measure.py     what `python -m deploy.figures measure judges` calls
    run.py         every judge in turn, in the environment that has their packages
    servers.py     vector-db-benchmark and VectorDBBench
    libraries.py   ann-benchmarks and VIBE
    vectors.py     the data, in the files that each of them reads
    fetch.sh       the sources that are in no package, at the commits that the figures name

Only what they found is kept, which is the same however busy the machine is; their figures of speed are not.
"""

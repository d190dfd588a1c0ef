"""What runs as a job: an index in shards built by many workers. And what runs beside a service, to fetch and to wait.

    run_cli.py      `perwatt job run`
    cli.py          `perwatt plan`, `work`, `publish`
    kubernetes.py   Jobs of Kubernetes, rendered, applied and watched
    run.py          the stages of a job, one after the other
    processes.py    workers that are processes of this machine
    ray_cluster.py  workers that are tasks of a Ray cluster
    attempts.py     tasks started, and begun again where a worker was lost
    tally.py        how far a job is
    bench.py        what a job costs beside its work
    work.py         the tasks themselves
    plan.py         what a job is, and what its tasks make
    places.py       where that is kept: a folder that all see, or a store
    inputs.py       inputs that lie in a store
    fetch.py        an archive of an index to this machine
    ready.py        waits for a service

`fetch.py` and `ready.py` need nothing but the standard library.
"""

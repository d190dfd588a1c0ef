"""An outside observer of a search service that says what a query costs, in joules and in dollars.

It speaks HTTP (through `service.client` what is not timed), records what it saw in one file a run, and computes
everything else from that file: the knee, the comparison of two machines, the report. Nothing in it knows how an index
is built or how the service answers.

Each line imports only what stands below it:

    cli/           the commands
    live/          a run as it goes: a line and a page
    bench/         what the generator itself can do
    report/        from records to a page, a summary, JSON
    selftest/      the harness turned on itself
    analysis/      from records to a verdict
    experiment/    many trials with one purpose: a knee, a curve, a soak
    generator/     one trial, open loop, inside Locust
    targets/       the engines: what each is sent, and how its answers are read
    workload/      what is asked and when
    record/        what a run leaves behind, and whether a trial may count
    power/         joules, measured or modelled
    prices/        what an hour of a machine costs
    machine/       what the run ran on
    units.py       quantities in words
    errors.py      what can go wrong

It is not a profiler (aperf, perf), not a watchdog of a series over months (Apache Otava), and not a benchmark of index
libraries (ann-benchmarks, big-ann-benchmarks): it measures a running service at a stated recall and a stated latency.
"""

"""loadtest: an outside observer of a search service that says what a query costs, in joules and in dollars.

It speaks HTTP (through `service.client` what is not timed), records what it saw in one file a run, and computes
everything else from that file: the knee, the comparison of two machines, the report. Nothing in it knows how an index
is built or how the service answers.

The path of the data, file by file:
    queries → workload → schedule → wire → pump → session → locustfile      one trial, open loop, inside Locust
    trial → knee, curve, soak → record                                      many trials, one run record
    machine, power/, prices/                                                what the run ran on, drew, and cost
    compare, sensitivity, fleet → report/                                   from records to a verdict
    simulate → selftest                                                     the harness turned on itself

It is not a profiler (aperf, perf), not a watchdog of a series over months (Apache Otava), and not a benchmark of index
libraries (ann-benchmarks, big-ann-benchmarks): it measures a running service at a stated recall and a stated latency.
"""

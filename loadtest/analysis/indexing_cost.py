"""Documents and vectors a joule, from the record of the steps that made an index."""

from __future__ import annotations

from loadtest.analysis.reading import PerJoule, cores_of, microarchitecture_of, no_model, vcpus_of
from loadtest.power.models import modelled_watts
from loadtest.record.run_record import Indexing, Record


def items_per_joule(record: Record, step: Indexing) -> PerJoule:
    """Documents or vectors a joule: metered, else modelled at the CPU share of the step, else none."""
    if step.energy is not None and step.energy.joules > 0:
        value = step.items / step.energy.joules
        return PerJoule("measured", value, value, value, step.energy.domain, step.energy.source)
    micro, threads = microarchitecture_of(record), vcpus_of(record)
    cores = record.server.cores if record.server is not None and record.price is None else cores_of(record)
    if micro and cores and threads and step.cpu_seconds:
        threads = record.server.threads if record.server is not None and record.price is None else threads
        share = min(step.cpu_seconds / step.seconds / threads, 1.0)
        power = modelled_watts(micro, float(cores), share)
        if power is not None:
            per = [step.items / (watts * step.seconds) for watts in (power.high_w, power.mid_w, power.low_w)]
            how = f"modelled from {', '.join(power.models)} at {share:.0%} of the CPU"
            return PerJoule("modelled", per[0], per[1], per[2], "whole server, modelled", how)
    why = no_model(record) or f"{step.source} does not say how much CPU time the step took"
    return PerJoule.none("nobody metered it (perwatt loadtest metered)", why)

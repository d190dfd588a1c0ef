"""Documents and vectors a joule, from the record of the steps that made an index."""

from __future__ import annotations

from loadtest.analysis.figure import PerJoule
from loadtest.analysis.reading import Reading
from loadtest.power.models import modelled_watts
from loadtest.record.run_record import Indexing


def items_per_joule(reading: Reading, step: Indexing) -> PerJoule:
    """Documents or vectors a joule: metered, else modelled at the CPU share of the step, else none."""
    if step.energy is not None and step.energy.joules > 0:
        value = step.items / step.energy.joules
        return PerJoule("measured", value, value, value, step.energy.domain, step.energy.source)
    micro, cores, threads = reading.microarchitecture, reading.cores, reading.vcpus
    price, server = reading.record.price, reading.record.server
    if price is not None:  # it was not confined to the CPUs that served
        cores, threads = price.cores, price.vcpus
    elif server is not None:
        cores, threads = server.cores, server.threads
    if micro and cores and threads and step.cpu_seconds:
        share = min(step.cpu_seconds / step.seconds / threads, 1.0)
        power = modelled_watts(micro, float(cores), share)
        if power is not None:
            per = [step.items / (watts * step.seconds) for watts in (power.high_w, power.mid_w, power.low_w)]
            how = f"modelled from {', '.join(power.models)} at {share:.0%} of the CPU"
            return PerJoule("modelled", per[0], per[1], per[2], "whole server, modelled", how)
    why = reading.no_model or f"{step.source} does not say how much CPU time the step took"
    return PerJoule.none("nobody metered it (perwatt loadtest metered)", why)

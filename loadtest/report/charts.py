"""The charts of a report, each from raw trials: what is on which axis, and what it says in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from loadtest import units
from loadtest.analysis.compare import Comparison
from loadtest.analysis.reading import Reading
from loadtest.analysis.sensitivity import Bar
from loadtest.record.histogram import Histogram
from loadtest.record.trial import Trial
from loadtest.report.page import Chart
from loadtest.report.plots import NARROW, WIDE, BarSpan, Line, Mark, plot, spans

NINES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)


def both(draw: Callable[[int], str], says: str) -> Chart | None:
    """The chart at both widths, None when there is nothing to draw."""
    wide = draw(WIDE)
    return Chart(wide, draw(NARROW), says) if wide else None


def load_curve(reading: Reading) -> Chart | None:
    """Latency over offered load: the curve's levels joined, the search's trials as dots, objective and knee marked."""
    record, curve = reading.record, reading.curve
    others = [t for t in record.trials if t.role in ("search", "search again", "confirm", "run", "soak")]
    if len(curve) + len(others) < 2:
        return None
    limit_s = record.objective.p99_ms / 1e3
    lines = [
        Line("p99", [(t.offered_qps, t.response_s(0.99)) for t in curve], "s1"),
        Line("p50", [(t.offered_qps, t.response_s(0.5)) for t in curve], "s2"),
        Line("p99.9", [(t.offered_qps, t.response_s(0.999)) for t in curve], "s4"),
        Line(
            "p99 while searching",
            [(t.offered_qps, min(t.response_s(0.99), limit_s * 20)) for t in others],
            "s3",
            line=False,
        ),
    ]
    if record.knee is not None:  # far beyond the knee there is only the queue of a too long trial
        edge = record.knee.knee_qps * 1.3
        lines[-1] = msgspec.structs.replace(lines[-1], points=[p for p in lines[-1].points if p[0] <= edge])
    lines = [line for line in lines if line.points]
    marks = [Mark(limit_s, f"objective {units.seconds(limit_s)}", "limit")]
    says = f"Latency over offered load; the objective is {units.seconds(limit_s)} at p99"
    if record.knee is not None:
        marks.append(Mark(record.knee.knee_qps, f"knee {units.rate(record.knee.knee_qps)}", "good", vertical=True))
        says += f" and is met up to about {units.rate(record.knee.knee_qps)}"
    return both(
        lambda width: plot(
            width, lines, x_label="offered load, queries a second", y_label="response time",
            x_text=units.digits, y_text=units.seconds, marks=marks, y_log=True, says=says,
        ),
        says,
    )  # fmt: skip


def percentiles(trial: Trial) -> Chart | None:
    """Response and service time by percentile, on a scale of nines; Locust's own two percentiles beside them."""
    response, service = Histogram.decode(trial.response), Histogram.decode(trial.service)
    total = response.total
    if not total:
        return None
    shown = [q for q in NINES if (1 - q) * trial.planned >= 5]  # fewer requests than that decide nothing

    def at(q: float) -> float:
        return -math.log10(1 - q)

    lines = [
        Line("from the due time", [(at(q), response.quantile_s(q, trial.unanswered)) for q in shown], "s1"),
        Line("from the send", [(at(q), service.quantile_s(q)) for q in shown], "s2"),
    ]
    if trial.locust is not None:
        points = [(at(0.5), trial.locust.p50_ms / 1e3), (at(0.99), trial.locust.p99_ms / 1e3)]
        lines.append(Line("Locust", [p for p in points if p[1] > 0], "s3", line=False))
    lines = [line for line in lines if line.points]
    ticks = [(at(q), f"{q * 100:g}") for q in shown if q in (0.5, 0.9, 0.99, 0.999, 0.9999)]
    says = f"Percentiles of response and service time at {units.rate(trial.offered_qps)}"
    return both(
        lambda width: plot(
            width, lines, x_label="percentile", y_label="time", x_text=units.digits, y_text=units.seconds,
            x_ticks=ticks, y_log=True, zero_x=False, says=says,
        ),
        says,
    )  # fmt: skip


def timeline(trial: Trial) -> Chart | None:
    """p50 and p99 over the slices of one trial."""
    if len(trial.slices) < 5:
        return None
    rows = [(s.start_s + trial.slice_s / 2, Histogram.decode(s.response), s.unanswered) for s in trial.slices]
    lines = [
        Line("p99", [(t, h.quantile_s(0.99, u)) for t, h, u in rows if h.total + u], "s1", dots=False),
        Line("p50", [(t, h.quantile_s(0.5, u)) for t, h, u in rows if h.total + u], "s2", dots=False),
    ]
    says = f"Response time over the {units.seconds(trial.window_s)} of the trial"
    return both(
        lambda width: plot(
            width, lines, x_label="time in the window, s", y_label="response time",
            x_text=units.digits, y_text=units.seconds, y_log=True, says=says,
        ),
        says,
    )  # fmt: skip


def power_curve(reading: Reading) -> Chart | None:
    """Measured watts over the achieved rate, idle included."""
    points = sorted((trial.achieved_qps, energy.watts) for trial, energy in reading.metered_levels)
    if len(points) < 3:
        return None
    says = f"Measured power from idle ({units.watts(points[0][1])}) to full load ({units.watts(points[-1][1])})"
    return both(
        lambda width: plot(
            width, [Line("measured", points, "s1")], x_label="achieved load, queries a second", y_label="power",
            x_text=units.digits, y_text=units.watts, says=says,
        ),
        says,
    )  # fmt: skip


def curves_of_arms(arms: Sequence[Reading]) -> Chart | None:
    """p99 over offered load of each arm with a curve."""
    lines = [
        Line(arm.arm, [(t.offered_qps, t.response_s(0.99)) for t in arm.curve], css)
        for css, arm in zip(("s2", "s1", "s3", "s4"), arms, strict=False)
        if arm.curve
    ]
    if len(lines) < 2:
        return None
    limit_s = arms[0].record.objective.p99_ms / 1e3
    says = "p99 of the response time over offered load, an arm a line"
    return both(
        lambda width: plot(
            width, lines, x_label="offered load, queries a second", y_label="p99", x_text=units.digits,
            y_text=units.seconds, marks=[Mark(limit_s, f"objective {units.seconds(limit_s)}", "limit")],
            y_log=True, says=says,
        ),
        says,
    )  # fmt: skip


def power_of_arms(arms: Sequence[Reading]) -> Chart | None:
    """Measured watts over the achieved rate, idle included, of each arm that was metered in the same domain."""
    if len({energy.domain for arm in arms for _, energy in arm.metered_levels}) != 1:
        return None
    lines = [
        Line(arm.arm, sorted((trial.achieved_qps, energy.watts) for trial, energy in arm.metered_levels), css)
        for css, arm in zip(("s2", "s1"), arms, strict=False)
        if arm.metered_levels
    ]
    if len(lines) < 2:
        return None
    says = "Measured power over achieved load, an arm a line"
    return both(
        lambda width: plot(
            width, lines, x_label="achieved load, queries a second", y_label="power", x_text=units.digits,
            y_text=units.watts, says=says,
        ),
        says,
    )  # fmt: skip


def blocks(comparison: Comparison) -> Chart | None:
    """Each block's ratio, the whole, and the replica's."""
    ratio = comparison.per_second
    if ratio is None:
        return None
    rows = [
        BarSpan(f"block {block}", value, value, value, "s3", f"{value:.2f}")
        for block, value in sorted(ratio.per_block.items())
    ]
    rows.append(_whole("all blocks", ratio.estimate, ratio.low, ratio.high, "s1"))
    if comparison.replica is not None:
        r = comparison.replica
        rows.append(_whole("baseline's replica (A/A)", r.estimate, r.low, r.high, "s2"))
    says = (
        f"Queries a second, {comparison.candidate} over {comparison.baseline}, by block: {ratio.estimate:.2f} overall"
    )
    return both(lambda width: spans(width, rows, says=says), says)


def _whole(label: str, mid: float, low: float, high: float, css: str) -> BarSpan:
    note = f"{mid:.2f} [{low:.2f}–{high:.2f}]" if math.isfinite(high) else f"{mid:.2f}"
    return BarSpan(label, low, mid, high, css, note)


def bars(found: Sequence[Bar], says: str) -> Chart | None:
    if not found:
        return None
    rows = [
        BarSpan(
            bar.what, bar.low, (bar.low * bar.high) ** 0.5 if bar.low == bar.high else None, bar.high,
            "bad" if bar.decides else "s1",
            f"{bar.low:.2f}–{bar.high:.2f}" if bar.low != bar.high else f"{bar.low:.2f}",
        )
        for bar in found
    ]  # fmt: skip
    return both(lambda width: spans(width, rows, says=says), says)

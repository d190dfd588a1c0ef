"""Text to vector: every encoder, what it does a second and how near it is to fp32."""

from __future__ import annotations

from deploy.figures.markdown import conditions, table
from deploy.figures.store import kept
from embed.bench.encode import CASES, LABELS


def block() -> str:
    measured = kept("encode")
    figures = measured["figures"]
    cases, ratio, cold = figures["cases"], figures["ratios"], figures.get("cold_start")
    cosines, documents = figures["mean_cosine_to_fp32"], cases["documents"]
    first = ""
    if cold:
        first = f"A fresh process has the vector of its first query after {cold['perwatt']['process_s']:.2f} s. "
    rows: list[list[object]] = []
    for name in sorted(documents, key=lambda name: float(documents[name]["ms_per_call"])):
        label = f"**{LABELS[name]}**" if name == "perwatt_int8" else LABELS[name]
        rates = [f"{cases[case.name][name][f'{case.unit}_per_s']:,.0f}" for case in CASES]
        rows.append([label, f"{cases['query1'][name]['ms_per_call']:.2f}", *rates, f"{cosines[name]:.4f}"])
    header = ["one encoder, text to vector", "ms a query", "queries/s", "… 32 at once", "texts/s of 32 tokens"]
    header += ["documents/s of 256", "cosine to fp32"]
    return (
        f"![Queries and documents a second of each encoder](encode.svg)\n\n{table(header, rows)}\n\n"
        f"{figures['model']}; queries of 8 tokens on one core, the rest on {figures['cores']}, tokenising included. "
        f"Against the faster int8 of ONNX Runtime: {ratio['query1_vs_ort_int8']:.1f} × on one query, "
        f"{ratio['query8_vs_ort_int8']:.1f} × on 32 at once, {ratio['documents_vs_ort_int8']:.1f} × on documents, at "
        f"{documents['perwatt_int8']['share_of_int8_peak']:.0%} of the int8 peak of {figures['unit']}. {first}"
        f"`perwatt bench encode` measures it anywhere, on every unit of the processor. {conditions(measured)}"
    )

"""Judgements: which documents people found relevant to which query, as TREC and BEIR write them.

    q1 0 doc7 2             TREC: query, unused, document, grade
    q1<TAB>doc7<TAB>2       BEIR: query, document, grade, below a line of headings

A query of the .jsonl file says with `_id` which one it is, as in BEIR.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from loadtest.errors import WorkloadError
from loadtest.workload.requests import Workload
from loadtest.workload.truth import Exact, Measure, Truth


def read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """Grades above 0 by query and document. WorkloadError names the line that is no judgement."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        words = line.split("\t") if line.count("\t") == 2 else line.split()
        if not words or (number == 1 and words[-1] == "score"):
            continue
        try:
            query, document, grade = words if len(words) == 3 else (words[0], words[2], words[3])
            value = float(grade)
        except (ValueError, IndexError):
            raise WorkloadError(
                f"{path.name}, line {number}: {line[:80]!r} is no judgement; expected QUERY 0 DOCUMENT GRADE, or "
                "QUERY, DOCUMENT and GRADE between tabs"
            ) from None
        if value > 0:
            found[query][document] = value
    return dict(found)


def judged(path: Path, workload: Workload, measure: Measure) -> Truth:
    """What was judged relevant to the requests without filters; the others are not judged.

    Raises WorkloadError when no query of the workload has a judgement.
    """
    grades = read_qrels(path)
    answers = []
    for request in range(len(workload.queries) * workload.variants):
        relevant = grades.get(workload.query(request).judged_as or "")
        if relevant and workload.filter(request) is None:
            best = sorted(relevant, key=lambda document: (-relevant[document], document))
            answers.append(Exact(request, best, [relevant[document] for document in best]))
    if not answers:
        raise WorkloadError(
            f'no query has a judgement in {path.name}: queries are .jsonl with an "_id" that stands in it'
        )
    return Truth(answers, workload.plan.k, "judged recall" if measure == "recall" else measure)

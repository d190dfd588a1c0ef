from __future__ import annotations

import threading
import time

from index.changes.words import ChangedWords
from index.weights.formula import Statistics


def test_rows_are_added_while_another_thread_scores() -> None:
    """A long search is in a thread of its own while the next changes are applied."""
    words = ChangedWords(str.split, Statistics(1000, 2.0, lambda _word: 10))
    for _ in range(20_000):  # so many that NumPy lets other threads run while it converts them
        words.add("bread rye")
    over, failed = threading.Event(), []

    def score() -> None:
        while not over.is_set():
            count = 20_000
            if len(words.scores(["bread", "rye"], count)) != count:
                failed.append("rows")

    searching = threading.Thread(target=score)
    searching.start()
    try:
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s:
            words.add("bread rye")
    finally:
        over.set()
        searching.join()
    assert not failed

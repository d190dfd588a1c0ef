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
            if len(words.scores({"bread": 1, "rye": 1}, count)) != count:
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


def test_a_word_that_a_query_says_twice_counts_twice() -> None:
    words = ChangedWords(str.split, Statistics(1000, 2.0, lambda word: 10 if word == "bread" else 0))
    for text in ("bread rye", "rye", "bread bread oats"):
        words.add(text)
    bread, rye = (words.scores({word: 1}, 3) for word in ("bread", "rye"))
    assert words.scores({"bread": 2, "rye": 1}, 3).tolist() == (2 * bread + rye).tolist()
    assert bread[2] > bread[0] > bread[1] == 0

from __future__ import annotations

import threading
import time

import numpy as np

from index.changes.words import ChangedWords
from index.search.bitmap import Bitmap
from index.weights.formula import Statistics


def live(*rows: bool) -> Bitmap:
    return Bitmap(np.array(rows, np.bool_), len(rows))


def test_rows_are_added_while_another_thread_scores() -> None:
    """A long search is in a thread of its own while the next changes are applied."""
    words = ChangedWords(str.split, Statistics(1000, 2.0, lambda _word: 10))
    for _ in range(20_000):  # so many that NumPy lets other threads run while it converts them
        words.add("bread rye")
    over, failed, every = threading.Event(), [], live(*[True] * 20_000)

    def score() -> None:
        while not over.is_set():
            if len(words.scores({"bread": 1, "rye": 1}, every)) != every.size:
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
    every = live(True, True, True)
    bread, rye = (words.scores({word: 1}, every) for word in ("bread", "rye"))
    assert words.scores({"bread": 2, "rye": 1}, every).tolist() == (2 * bread + rye).tolist()
    assert bread[2] > bread[0] > bread[1] == 0


def test_a_new_word_is_worth_as_much_however_often_its_document_was_put_again() -> None:
    """What it replaced is gone, and so is what was deleted."""
    words = ChangedWords(str.split, Statistics(1000, 2.0, lambda _word: 0))
    for _ in range(500):
        words.add("zirconium")
    last = live(*[False] * 499, True)
    again = words.scores({"zirconium": 1}, last)
    once = ChangedWords(str.split, Statistics(1000, 2.0, lambda _word: 0))
    once.add("zirconium")
    assert again[-1] == once.scores({"zirconium": 1}, live(True))[0]
    assert words.new(["zirconium"], last) == {"zirconium": 1}
    assert words.new(["zirconium"], live(*[False] * 500)) == {}

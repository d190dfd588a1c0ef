"""A generation opened and searched: by vectors, by words, through filters, and exactly.

It builds nothing (`build` does) and leaves hashes, aliases and layouts to `disk`.
"""

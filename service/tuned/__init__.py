"""The search that an index is asked by default, as `perwatt tune --write` keeps it beside the index's alias.

How a search is measured is not known here (`cli/tuning.py`), and what a request makes of it is `wire`'s.
"""

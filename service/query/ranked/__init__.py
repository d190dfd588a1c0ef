"""A query that takes more than one search of vectors: words, two rankings fused, groups, pages, hits read anew.

The hot way, one search of vectors, is `search.py`'s alone.
"""

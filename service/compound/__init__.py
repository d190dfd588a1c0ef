"""Requests that are several searches in one: a batch of queries, counts of facets over what filters and a query keep.

Each search in them is one of `query/`, with the same meaning and the same errors.
"""

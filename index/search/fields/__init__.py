"""Filterable fields: declared or inferred, stored as columns and postings, and a condition on one as a bitmap of rows.

How conditions make a filter is said in `filtering.py`, beside this room.
"""

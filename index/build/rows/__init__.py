"""Rows on their way in: checked, spooled, put in the order of their ids, and their words indexed.

Their ids, payload and columns are written as they are read: by `index.search`.
"""

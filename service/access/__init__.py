"""Who may: keys, callers, quotas, and the decision taken before a body is read.

What a caller then gets to see is applied in `query`.
"""

"""The nouns of the API: one file each, request in, answer out.

They read bodies and write answers; the work is done in `query`.
"""

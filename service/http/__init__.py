"""HTTP: bytes to requests, the table of routes, and what surrounds every request.

What a call means is for `endpoints` to say; the fast path asks `query` without any of it.
"""

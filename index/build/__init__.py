"""Vectors to a generation: families, their structures, measured recall, and the checks before it is served.

How a finished generation is searched is up to `search`; what its files look like, to `disk`.
"""

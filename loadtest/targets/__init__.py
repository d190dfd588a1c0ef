"""Engines that can be loaded: what each is sent, how its answers are read, and what it can do.

A target turns a query into the bytes of a request before the clock starts, and reads ids out of an answer after it was
timed; what runs between is the generator's and the same for all. perwatt is one of them. Every other engine over HTTP
is a request template: a TOML file here, or one of the user's own. Loading data into an engine is left to others.
"""

"""Documents on their way in: readers of files and installed packages, chunks, and the rows that become vectors.

It knows no model: what a text comes to is for `encoders` to say.
"""

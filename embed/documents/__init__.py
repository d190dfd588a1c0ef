"""Documents on their way in: readers of files and installed packages, chunks, and the rows that become vectors.

It knows no model: `encoders` turn texts into vectors.
"""

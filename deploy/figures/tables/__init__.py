"""What stands between each pair of markers of BENCHMARKS.md and the README: a file a block, made from kept figures.

A file's `block` is that text; it measures nothing. `markdown.py` has what they share.
"""

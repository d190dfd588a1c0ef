"""The commands that serve, search and judge an index, and what they print.

They parse and print; a server is started by `processes`, a query answered by `query`.
"""

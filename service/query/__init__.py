"""The query path: admit, resolve to a vector, search, fuse and page, answer; and which generation answers.

It knows requests and answers as structs, and nothing of sockets or headers.
"""

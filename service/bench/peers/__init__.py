"""Other servers, each a script of its own that `perwatt bench http` starts with the interpreter of that server's own
virtual environment. Those of others import nothing of perwatt.
`bare…` and `perwatt…` run in perwatt's own environment, and take Granian from its.

    FOLDER holds vectors.npy (float32, unit length) and ids.txt; the script builds what it searches inside it, once,
    and then serves on PORT: `python NAME_server.py FOLDER PORT`. It prints "ready" when it answers.
"""

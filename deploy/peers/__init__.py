"""Other servers, each a script of its own that `perwatt bench http` starts with the interpreter of that server's own
virtual environment. None of them imports anything of perwatt.

    FOLDER holds vectors.npy (float32, unit length) and ids.txt; the script builds what it searches inside it, once,
    and then serves on PORT: `python NAME_server.py FOLDER PORT`. It prints "ready" when it answers.
"""

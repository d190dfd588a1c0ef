"""Other servers: scripts that `perwatt bench http` starts with the interpreter of each server's own environment.

Those of other projects import nothing of perwatt. `bare…` and `perwatt…` run in perwatt's environment, and take Granian
from Granian's.

    FOLDER holds vectors.npy (float32, unit length) and ids.txt; the script builds what it searches inside it, once,
    and then serves on PORT: `python NAME_server.py FOLDER PORT`. It prints "ready" when it answers.
"""

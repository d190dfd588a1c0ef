"""Moving in and out: what other engines hold becomes a vectors folder or documents, and an index becomes files.

A reader a source; all of them give the same rows (`rows.py`), of which `vectors_folder.py` and `documents.py` make what
`perwatt build` and `perwatt embed` take. Nothing here writes to where it reads.
"""

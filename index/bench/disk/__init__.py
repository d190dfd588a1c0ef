"""`perwatt bench disk`: our lists on the disk and those of others, each within the same enforced limit of memory.

    contenders.py  the table: ours, FAISS's lists with several codes, DiskANN, and where each one's adapter is
    ours.py        the adapter of perwatt; the others' are in ../peers/
    limit.py       a control group that no more than so much memory is given to, page cache included
    pages.py       what of a file the page cache holds, and how it is dropped
    worker.py      the process that one contender lives in
    run.py         builds, chooses settings, times them, cold and warm
    command.py     the command, and its lines for a person to read

A contender is built without a limit. The settings that reach the target of recall are found without one too, since
recall knows no memory. Each is then timed in a process of its own: its files are dropped from the page cache, the
process has its interpreter, libraries and queries in memory, joins the group, opens its index, and answers one query
at a time on one thread. `cold` are its first queries. `warm` are queries nobody asked before, after so many others
that the cache holds what it can.
"""

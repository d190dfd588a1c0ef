"""The published figures: kept as JSON, drawn and written into the README by a script that tests check.

Nothing is measured here; the packages' own `bench` rooms do that.

    render.py          the command, and which block stands in which document
    tables/            each block, made from kept figures
    measurements.py    which benchmark each name calls
    ann_runs.py        what the names of graphs call, on several sets of vectors
    store.py           where figures lie, and with what they were measured
    markdown.py        how a table is written
"""

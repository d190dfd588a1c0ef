"""How many documents hold what: counts of the values of filterable fields, among all documents or those that some
filter or query keeps.

It counts and selects nothing: which rows are counted is decided by `search` and `changes`.

    values.py   the most frequent values of a field
    ranges.py   documents a range: ranges that were asked for, or one beside the other in equal steps
"""

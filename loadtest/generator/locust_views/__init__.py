"""What Locust itself shows of a trial: its statistics, and a tab of its page for what they leave out.

A report does not read it: it has the record.
"""

"""What is told to operators: metrics, logs, spans, joules.

It counts what it is handed and decides nothing.
"""

class BenchError(Exception):
    """A measurement that cannot be made as asked; the message says what was given and what is possible."""

"""From settings to listening processes, and from a signal to their end.

Several workers behind one port, what they share and what they tell each other. Requests are `http`'s.
"""

"""A run as it goes: the line on the terminal, and a page on the loopback that draws what is told each second.

board   what is known so far, as the page is told it        server   a thread that tells it
line    the same as one line                                page.html

Nothing here measures. The generator tells its counters once a second whether anybody looks or not.
"""

"""What goes over the wire: requests, answers, problems, limits and filters as typed structs.

Nothing here searches or knows a connection.
"""

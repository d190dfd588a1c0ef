"""Tables of what the number of rows costs: sets larger than memory, and ten times as many rows. What else is measured
of an index stands in the room above."""

"""Writes of a root: one process does them, and every other worker of the service sends it its own."""

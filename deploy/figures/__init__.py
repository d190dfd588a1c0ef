"""The published figures: kept as JSON, drawn and written into the README by a script that tests check.

Nothing is measured here; the packages' own `bench` rooms do that.
"""

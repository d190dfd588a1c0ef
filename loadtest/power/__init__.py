"""Joules: measured where there is a sensor, modelled with an interval where there is none, and never mixed."""

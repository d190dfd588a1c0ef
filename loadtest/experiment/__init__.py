"""Many trials with one purpose: a knee, a curve, an effort, a soak; and the service that is asked meanwhile.

A single trial is made by `generator`.
"""

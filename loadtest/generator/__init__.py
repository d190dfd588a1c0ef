"""One trial: the open loop inside Locust, its processes, and what they saw.

What is sent and when was decided in `workload`; how a trial is stored, in `record`.
"""

"""What is asked and when: queries, requests, filters, the schedule, and the exact answers.

Everything is ready before the clock starts.
"""

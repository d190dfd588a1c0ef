"""From run records to a verdict: ratios with intervals, comparisons, fleets, sensitivities.

It makes no load and draws nothing; `report` shows what is found here.
"""

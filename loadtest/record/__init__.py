"""What a run leaves behind: trials, histograms, the objective, and whether a trial may count.

One file a run; every report is computed from it.
"""

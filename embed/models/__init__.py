"""What a model is: its folder, its fingerprint, and what is made from it once and kept.

Nothing here runs a model; `encoders` does.
"""

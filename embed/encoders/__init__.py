"""Texts to vectors: one contract, and a file for each way to run a model.

What a model is made of is read by `models`; where vectors lie is up to `vectors`.
"""

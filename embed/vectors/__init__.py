"""Vectors on disk, for whoever makes, indexes or sends them. What they mean is left to the encoder and the index."""

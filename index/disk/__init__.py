"""What lies on disk: indexes, aliases, manifests, and the sections that the kernels map.

Nothing here searches; each file says what it holds and how damage is seen.
"""

"""A graph without FAISS: our kernels draft its links from products of all with all in small parts of the set.

FAISS gets a file of its own kind all the same: an HNSW whose level 0 has these links and whose upper levels are drafted
from samples. Built anywhere, on any number of threads, a graph has the same bytes.
"""

"""The tables of rankings and their fusions: what they are worth on judged collections, and what they cost."""

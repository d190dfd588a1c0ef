"""The first page of a comparison: for who decides and signs, in plain words, from the same records."""

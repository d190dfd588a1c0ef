"""One answer from several parts of an index: merging. It knows rows and scores, and nothing of where a part lies."""

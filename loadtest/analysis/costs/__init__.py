"""What a query costs beside the machine that serves it: grams, tokens of a model elsewhere, the making of the index."""

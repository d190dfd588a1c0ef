"""BM25 as numbers: what a word and a length are worth, and the statistics it takes. Who holds which word is not its."""

"""Search by a learned sparse model: weights that a masked-language model gave documents, and a table for queries.

A document holds tokens of the model's vocabulary, also such as it does not say, each with a weight. A query is its own
tokens, each with the weight that a table has for it; no network runs. The score is the sum of the products.

A generation keeps all that this takes in `sparse/`: the inverted index, the table, the tokenizer. So whoever serves it
needs no model. Weights of documents are rounded to 8 bits, in a step that the model's formula fixes, and no statistics
are in them: a document scores the same in any shard.
"""

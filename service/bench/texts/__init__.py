"""What searches by text cost over HTTP.

corpus.py   documents and queries of other texts, and an index of them by the commands a user would type
hybrid.py   `perwatt bench hybrid`: both rankings beside each of them, and words beside bare tantivy
price.py    `perwatt bench text`: a text beside its vector, by the whole model, a fitted encoder, and the cache
"""

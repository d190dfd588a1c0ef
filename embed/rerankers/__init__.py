"""Query and document read together by a model: a score for each pair, which orders hits better than vectors can.

`contract` says what one is, `native` runs a cross-encoder on our kernels, `remote` asks a server, `load` chooses.
Which hits are read, and what becomes of the scores, is up to `service`.
"""

"""Documents to weights of tokens, by a masked-language model whose queries need none: learned sparse retrieval.

    weight of a token in a document    log(1 + max(0, the largest of its logits over the document's positions)),
                                       and log(1 + that) for a model whose pooling says log1p_relu
    weight of a token in a query       what the model's table says, once for each different token

That is what sentence-transformers' SparseEncoder computes for a Router of SparseStaticEmbedding and SpladePooling, and
what the cards of opensearch-neural-sparse-encoding-doc-v2 and -v3 print, whose table is also in `idf.json`. The network
runs on our kernels in fp32, the head that gives the logits in NumPy.

Where weights go and how they are searched is the index's affair.
"""

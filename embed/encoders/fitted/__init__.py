"""A query encoder fitted to one corpus: cheaper than the model, in its space, with its loss measured before it is used.

    of_vectors.py the fitter for vectors that carry the fingerprint of their model
    fit.py        texts of a corpus in, a fitted encoder and what it measured out, or why not
    texts.py      what people might ask, made from documents: their spans, bare and inside questions
    student.py    teaches two of the model's layers to say what all of them say
    agreement.py  how near its answers come to the model's, on documents that it was not taught on
    predictor.py  which queries to send through the whole model, from their tokens alone
    encoder.py    a fitted encoder at work
    section.py    its file in a generation

Documents are always encoded by the model. What the vectors are searched in is not known here: who fits brings a search.
"""

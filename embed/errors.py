"""What can go wrong between a document and its vector.

EmbedError                 base: a full sentence for the person at the command line
├── ModelError             a model is missing, damaged, or of a kind that cannot be run
├── TextError              a text is no Unicode
└── …                      errors of documents and of the vectors folder are defined beside their cause
"""


class EmbedError(Exception):
    """A foreseen failure of the embedding pipeline; `str(error)` says what was given, expected, and what to do next."""


class ModelError(EmbedError):
    """The model cannot be found, is not what its fingerprint says, or has a shape that no backend here can run."""


class TextError(EmbedError):
    """A text has no UTF-8 form and so no tokens; names its place in the batch."""

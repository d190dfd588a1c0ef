"""What can go wrong between a document and its vector.

EmbedError                     base: a full sentence for the person at the command line
├── ModelError                 a model is missing, damaged, or of a kind that cannot be run
│   └── EncoderError           an encoder elsewhere does not answer, refuses, or answers with no vectors
│       └── EncoderChangedError    it answers with other vectors than before
├── TextError                  a text is no Unicode
└── …                          errors of documents and of the vectors folder are defined beside their cause
"""


class EmbedError(Exception):
    """A foreseen failure of the embedding pipeline; `str(error)` says what was given, expected, and what to do next."""


class ModelError(EmbedError):
    """The model cannot be found, is not what its fingerprint says, or has a shape that no backend here can run."""


class EncoderError(ModelError):
    """An encoder elsewhere gave no vectors. The message names its address, and neither a text nor a key.

    Attributes:
        why: The same for people who may not know the address: the end of "The encoder of this service …".
        retry_after_s: Seconds after which asking again makes sense.
    """

    def __init__(self, address: str, why: str, retry_after_s: float = 1.0) -> None:
        super().__init__(f"The encoder at {address} {why}")
        self.why = why
        self.retry_after_s = retry_after_s


class EncoderChangedError(EncoderError):
    """The model elsewhere is not the one that it was: every vector since would be nonsense beside those before."""


class TextError(EmbedError):
    """A text has no UTF-8 form and so no tokens; names its place in the batch."""

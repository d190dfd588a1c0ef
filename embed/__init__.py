"""Documents into vectors: reading, chunking, encoding, and the folder of vectors on disk.

What it is not: it knows neither an index nor HTTP; `index` reads the folder it writes, and `service` calls its encoder.
Training or fine-tuning a model is sentence-transformers' work.
"""

from embed.encoder import Encoder
from embed.load import load_encoder
from embed.errors import EmbedError, ModelError
from embed.fingerprint import Fingerprint

__all__ = ["EmbedError", "Encoder", "Fingerprint", "ModelError", "load_encoder"]

"""Which shard a document belongs to: a pure function of its id and of how many shards there are.

The rule is named in every file that relies on it, so that another rule can be told apart. A hash spreads ids evenly
whatever they look like, and blake2b is the same in every language and on every machine.
"""

from hashlib import blake2b
from typing import NamedTuple

from index.weights.whole import WholeWords

RULE = "blake2b-64 of the UTF-8 id, little-endian, modulo the shards"
MOST_SHARDS = 1024


class Shard(NamedTuple):
    """What one generation is of a sharded one.

    Args:
        generation: id of the sharded generation, which all its shards have too.
        number: from 0, `of` how many.
        words: statistics of the whole; None where nothing is searched by words.
    """

    generation: str
    number: int
    of: int
    words: WholeWords | None

    @property
    def folder(self) -> str:
        return folder_of(self.number, self.of)

    def entry(self) -> dict[str, object]:
        """As manifests have it."""
        return {"number": self.number, "of": self.of, "rule": RULE}


def shard_of(id_: str, shards: int) -> int:
    """The number of the shard that a document belongs to; an integer id counts as its decimals."""
    return int.from_bytes(blake2b(id_.encode(), digest_size=8).digest(), "little") % shards


def folder_of(number: int, of: int) -> str:
    """What the folder of indexes of a shard is called."""
    return f"{number}-of-{of}"

"""Which generation an index serves: a rebuild, and a switch."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from service.wire.request.fields import Name


class RebuildRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """
    Args:
        source: "changes" (the served generation and what was written since), or a name of the server's configuration.
    """

    index: Annotated[str, Meta(min_length=1, max_length=128)]
    source: Annotated[str, Meta(min_length=1, max_length=128)] = "changes"


class SwitchRequest(Struct, forbid_unknown_fields=True):
    """The generation that an alias shall point to. prepare: not yet; the generation is opened and checked, answers
    those who name it, and a switch to it takes no time. What was prepared before is dropped."""

    generation: Name  # its pattern is in http/api/body_schema.py
    prepare: bool = False


REBUILD = msgspec.json.Decoder(RebuildRequest)
SWITCH = msgspec.json.Decoder(SwitchRequest)

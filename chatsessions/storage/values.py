"""What is stored of a ``user_session``: one JSON text, ``{key: value, …}``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from chatsessions.exceptions import NotLoadable

_stored = msgspec.json.Decoder(dict[str, msgspec.Raw])


def split_state(text: bytes | str) -> dict[str, bytes]:
    """Return each key's own bytes. Raises ``NotLoadable`` if the text is damaged."""
    try:
        return {key: bytes(raw) for key, raw in _stored.decode(text or b"{}").items()}
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise NotLoadable(f"the stored user_session is damaged: {error}") from error


def join(encoded: Mapping[str, bytes]) -> bytes:
    """Return the encoded values of these keys as one JSON text."""
    return b"{" + b",".join([name(key) + raw for key, raw in encoded.items()]) + b"}"


@lru_cache(maxsize=4096)  # an application has few, and its sessions share them
def name(key: str) -> bytes:
    """Return a key as it stands in JSON, with its colon."""
    return msgspec.json.encode(key) + b":"

"""A session's log: its entries, and the topic that its row has."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

#: The names of the entries that end a stream.
_CLOSING = ("message_update", "message_remove", "step_update", "step_remove")

#: The longest topic; it is a column of the session's row.
MAX_TOPIC = 100


class Entry(msgspec.Struct, gc=False):
    """One entry of a session's log. ``data`` is JSON, as it goes over the wire."""

    seq: int
    n: int | None
    turn: int | None
    name: str
    data: bytes
    created_at: datetime
    #: The id that the client gave its message, in hexadecimal. It is written, and never read.
    key: str | None = None

    @property
    def closes(self) -> str | None:
        """The id of the message or step that is changed here, which ends its stream."""
        if self.name not in _CLOSING:
            return None
        data: Any = msgspec.json.decode(self.data)
        if not isinstance(data, dict) or data.get("n") is not None:
            return None  # it is about a message of the client, which has no stream
        found = data.get("id")
        return found if isinstance(found, str) else None


def topic_of(text: str) -> str:
    """Return the beginning of ``text`` as one line of printable characters."""
    words = text[: 8 * MAX_TOPIC].encode(errors="replace").decode().split()
    line = "".join(char for char in " ".join(words) if char.isprintable())
    return line if len(line) <= MAX_TOPIC else f"{line[: MAX_TOPIC - 1].rstrip()}…"

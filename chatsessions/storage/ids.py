"""Ids: those of messages, and what somebody says is one."""

from __future__ import annotations

import os
from struct import iter_unpack
from uuid import UUID

#: How many ids are made of what is asked of the system at a time: asking costs more than an id.
POOLED = 64


#: Those that nobody has yet.
_left: list[str] = []
# What a parent has drawn is not for its child as well.
os.register_at_fork(after_in_child=_left.clear)


#: What makes random bytes those of a UUID of version 4 and RFC 4122's variant.
_VERSION = bytes(byte & 0x0F | 0x40 for byte in range(256))
_VARIANT = bytes(byte & 0x3F | 0x80 for byte in range(256))


def parse_uuid(text: str) -> UUID | None:
    """The UUID that ``text`` is, in any of its spellings; None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def message_id(session: UUID, n: int) -> str:
    """
    The id of a client's message that came without one: the session's own and the event's number.

    It is in the shape of a UUID, and the same wherever and whenever it is made.
    """
    return f"{str(session)[:24]}{n:012x}"


def message_key(id_: str) -> str:
    """The id that a client gave its message, however it wrote it, in hexadecimal."""
    return id_.replace("-", "").lower()


def new_id() -> str:
    """A random UUID as text, as ``str(uuid4())`` is one. Threads may ask at the same time."""
    try:
        return _left.pop()
    except IndexError:
        drawn = _draw()
        new = drawn.pop()
        _left.extend(drawn)
        return new


def _draw() -> list[str]:
    drawn = bytearray(os.urandom(16 * POOLED))
    drawn[6::16] = drawn[6::16].translate(_VERSION)
    drawn[8::16] = drawn[8::16].translate(_VARIANT)
    groups = iter_unpack("8s4s4s4s12s", drawn.hex().encode())
    return b" ".join([b"%b-%b-%b-%b-%b" % group for group in groups]).decode().split()

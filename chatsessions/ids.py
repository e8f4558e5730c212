"""Random ids of what is made for every message."""

from __future__ import annotations

import os

#: How many ids are made of what is asked of the system at a time: asking costs more than an id.
POOLED = 64


class _Pool:
    """Random bytes of the system's, each given out once."""

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def take(self) -> bytes:
        """16 bytes. Threads may take at the same time."""
        try:
            return self._left.pop()
        except IndexError:
            drawn = os.urandom(16 * POOLED)
            self._left += [drawn[at : at + 16] for at in range(0, len(drawn) - 16, 16)]
            return drawn[-16:]

    def empty(self) -> None:
        self._left = []


_pool = _Pool()
# What a parent has drawn is not for its child as well.
os.register_at_fork(after_in_child=_pool.empty)


def new_id() -> str:
    """A random UUID as text, as ``str(uuid4())`` is one."""
    text = _pool.take().hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"

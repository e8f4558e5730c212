"""
How a ``user_session`` is stored: as a whole, or as a snapshot and a patch on it.

Up to ``WHOLE_BYTES`` all values are written, ``{key: value, …}``, whenever one has changed. Above
that a commit writes a patch, ``[revision, [dropped keys], {key: value, …}]``: what has changed
since the snapshot, ``[revision, {key: value, …}]``, was written. Each of these texts says by
itself what it is, and a patch which snapshot it is on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import msgspec

from chatsessions.exceptions import NotLoadable

#: Up to here writing all is as cheap as finding out what to write.
WHOLE_BYTES = 32 * 1024

T = TypeVar("T")

#: What patches and snapshots begin with.
_REVISION = re.compile(rb"\[(\d+),")

_Values = dict[str, msgspec.Raw]
_stored_state = msgspec.json.Decoder(_Values)
_stored_patch = msgspec.json.Decoder(tuple[int, list[str], _Values])
_stored_snapshot = msgspec.json.Decoder(tuple[int, _Values])


@dataclass(slots=True)
class State:
    """A ``user_session`` as it is stored, or what of it is to be."""

    #: All values, or a patch.
    text: bytes
    #: Of all values, in bytes.
    size: int
    #: What the patch is on. To be written: None if it is there, ``b""`` to have none any more.
    snapshot: bytes | None = None

    @classmethod
    def whole(cls, text: bytes) -> State:
        """One that is not large."""
        return cls(text, len(text))

    @property
    def revision(self) -> int:
        """Of the snapshot that it is on; 0 if it is whole."""
        return _revision_of(self.text)

    @property
    def is_complete(self) -> bool:
        """Whether all values are there."""
        return not self.revision or _revision_of(self.snapshot or b"") == self.revision

    def after(self, earlier: State | None) -> State:
        """The same, with the snapshot of an ``earlier`` one that has not been written."""
        if earlier is not None and self.snapshot is None:
            self.snapshot = earlier.snapshot
        return self

    def values(self) -> dict[str, bytes]:
        """Each key's own bytes. Raises ``NotLoadable`` if they are damaged, or not all there."""
        if not self.text.startswith(b"["):
            return split_state(self.text)
        revision, dropped, put = _decode(_stored_patch, self.text)
        base, values = _decode(_stored_snapshot, self.snapshot or b"[0,{}]")
        if base != revision:
            raise NotLoadable(f"snapshot {revision} of the stored user_session is not there")
        for key in dropped:
            values.pop(key, None)
        return _bytes(values | put)

    def as_json(self) -> bytes:
        """All values as one JSON text. Raises ``NotLoadable``."""
        return join(self.values()) if self.text.startswith(b"[") else self.text


class Snapshots:
    """What is to be written of a session's values, and when another snapshot is due."""

    __slots__ = ("_patch", "_revision")

    def __init__(self, stored: State | None = None) -> None:
        #: None while the values are stored as a whole.
        self._patch: Patch | None = None
        self._revision = 0 if stored is None else stored.revision
        if stored is not None and self._revision:
            self._patch = Patch.of(stored)

    def put(self, key: str) -> None:
        """``key`` has another value."""
        if self._patch is not None:
            self._patch.put(key)

    def drop(self, key: str) -> None:
        """``key`` is gone."""
        if self._patch is not None:
            self._patch.drop(key)

    def write(self, encoded: Mapping[str, bytes], size: int) -> State:
        """What is to be stored now that something has changed."""
        if size > WHOLE_BYTES and self._patch is not None:
            text = self._patch.write(encoded)
            if self._patch.wasted <= size:
                return State(text, size)
        return self.write_all(encoded, size)

    def write_all(self, encoded: Mapping[str, bytes], size: int) -> State:
        """The same, of all values."""
        if size <= WHOLE_BYTES:
            had, self._patch = self._patch, None
            text = join(encoded)
            return State(text, len(text), None if had is None else b"")
        self._revision += 1
        # Ahead of the values: what a handler's thread changes now is in one of the two, or both.
        self._patch = Patch(self._revision)
        snapshot = b"[%d,%b]" % (self._revision, join(encoded))
        return State(b"[%d,[],{}]" % self._revision, size, snapshot)


class Patch:
    """
    What has changed since a snapshot.

    To be told after the values have changed: a commit may look while a handler's thread goes on.
    """

    __slots__ = ("_dropped", "_latest", "_put", "_revision", "wasted")

    def __init__(self, revision: int) -> None:
        self._revision = revision
        #: In the order in which they were put there, and will be after loading.
        self._put: dict[str, None] = {}
        #: Also those that were put again, and are no longer where they were.
        self._dropped: dict[str, None] = {}
        #: Put or dropped since the patch was written.
        self._latest: set[str] = set()
        #: Bytes that were written once more though nothing had changed in them: the price of an
        #: old snapshot. When a new one would have cost no more, it is time for it, whether much
        #: changes or little, the same keys or ever others.
        self.wasted = 0

    @classmethod
    def of(cls, state: State) -> Patch:
        """As it was stored. Raises ``NotLoadable``."""
        revision, dropped, put = _decode(_stored_patch, state.text)
        patch = cls(revision)
        patch._dropped = dict.fromkeys(dropped)
        patch._put = dict.fromkeys(put)
        # As if each key had come with a commit of its own.
        patch.wasted = len(state.text) * max(0, len(put) + len(dropped) - 1) // 2
        return patch

    def put(self, key: str) -> None:
        self._put[key] = None
        self._latest.add(key)

    def drop(self, key: str) -> None:
        self._dropped[key] = None
        self._put.pop(key, None)
        self._latest.add(key)

    def write(self, encoded: Mapping[str, bytes]) -> bytes:
        """The patch as JSON."""
        latest, self._latest = self._latest, set()
        # Ahead of those dropped, which have a key before it is taken from these.
        put = {key: encoded.get(key) for key in list(self._put)}
        # One that a thread has dropped, and not told yet, has nothing.
        gone = [key for key, raw in put.items() if raw is None]
        dropped = msgspec.json.encode([*list(self._dropped), *gone])
        values = {key: raw for key, raw in put.items() if raw is not None}
        text = b"[%d,%b,%b]" % (self._revision, dropped, join(values))
        self.wasted += len(text) - sum(len(name(key)) + len(put.get(key) or b"") for key in latest)
        return text


def split_state(text: bytes | str) -> dict[str, bytes]:
    """Each key's own bytes in a whole state. Raises ``NotLoadable`` if it is damaged."""
    return _bytes(_decode(_stored_state, text or b"{}"))


def join(encoded: Mapping[str, bytes]) -> bytes:
    """The values of these keys as one JSON text."""
    return b"{" + b",".join([name(key) + raw for key, raw in list(encoded.items())]) + b"}"


@lru_cache(maxsize=4096)  # an application has few, and its sessions share them
def name(key: str) -> bytes:
    """A key as it stands in JSON, with its colon."""
    return msgspec.json.encode(key) + b":"


def _revision_of(text: bytes) -> int:
    found = _REVISION.match(text)
    return int(found[1]) if found else 0


def _decode(decoder: msgspec.json.Decoder[T], text: bytes | str) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise NotLoadable(f"the stored user_session is damaged: {error}") from error


def _bytes(values: _Values) -> dict[str, bytes]:
    return {key: bytes(raw) for key, raw in values.items()}

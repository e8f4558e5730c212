"""``JoinedSlices``: the slices of an upload, read as the one file that they make."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, cast

from .storage import SessionStorage


class JoinedSlices(io.RawIOBase):
    """
    Slices one after another as one file, of which no more than one is open at a time.

    ``opened`` is called before each is opened. Raises what the storage and ``opened`` raise, and
    ``OSError`` for a slice that is shorter than it was.
    """

    def __init__(
        self, keys: Sequence[str], *, slice_bytes: int, size: int, opened: Callable[[], None]
    ) -> None:
        super().__init__()
        self._keys = keys
        self._slice_bytes = slice_bytes
        self._size = size
        self._opened = opened
        self._position = 0
        self._number = -1
        self._part: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size or not len(buffer):
            return 0
        number, within = divmod(self._position, self._slice_bytes)
        part = self._open(number)
        if part.tell() != within:
            part.seek(within)
        found = part.read(min(len(buffer), self._slice_bytes - within))
        if not found:
            raise OSError(f"A slice ends before byte {self._position} of {self._size}.")
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _open(self, number: int) -> BinaryIO:
        if self._part is None or number != self._number:
            self._close_part()
            self._opened()
            self._part = cast("BinaryIO", SessionStorage().open(self._keys[number]))
            self._number = number
        return self._part

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None

    def close(self) -> None:
        self._close_part()
        super().close()

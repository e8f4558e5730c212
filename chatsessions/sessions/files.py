"""``SessionFiles``: a live session's files, as its handlers and its client name them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from uuid import UUID

from django.core.files.base import ContentFile, File
from django.db import Error as DatabaseError

from chatsessions.exceptions import (
    FileRefused,
    FrameError,
)
from chatsessions.files.storage import ChatFile
from chatsessions.files.types import (
    UNKNOWN,
    accepts,
    clean_name,
    normal_type,
    suffix_of,
    type_of_name,
)
from chatsessions.handlers.context import current_turn
from chatsessions.handlers.emitter import Turn
from chatsessions.storage.database import Executors
from chatsessions.storage.files import (
    files_of,
    find_files,
    store,
)

T = TypeVar("T")

#: Seconds after which a client may send a message again whose files could not be looked up.
RETRY_AFTER = 1.0


class SessionFiles:
    """The files of one session. May be used in any event loop."""

    def __init__(
        self,
        session_id: UUID,
        loop: asyncio.AbstractEventLoop,
        threads: Executors,
        *,
        may_save: Callable[[Turn | None], Awaitable[None]],
    ) -> None:
        self._session_id = session_id
        self._loop = loop
        self._threads = threads
        #: Waits until the session's row is stored. Raises if a turn may change nothing any more.
        self._may_save = may_save

    async def all(self) -> list[ChatFile]:
        """Return all files, oldest first."""
        return await self._threads.do_files(partial(files_of, self._session_id))

    async def save(
        self,
        name: str,
        content: bytes | str | BinaryIO | None,
        path: str | os.PathLike[str] | None,
        mime: str | None,
    ) -> ChatFile:
        """Keep a file: see :meth:`Session.save_file`."""
        if (content is None) == (path is None):
            raise TypeError("save_file() takes either content or path.")
        if mime is not None and not normal_type(mime):
            raise ValueError(f"{mime!r} is no type; write one such as 'image/png'.")
        await _in_loop(self._loop, partial(self._may_save, current_turn()))
        step = partial(_save, self._session_id, clean_name(name), content, path, mime)
        return await self._threads.do_files(step)

    async def named(self, ids: Sequence[str]) -> list[ChatFile]:
        """Return the files with these ids. Raises ``FileRefused`` for one of another session."""
        return await self._threads.do_files(partial(find_files, self._session_id, ids))

    async def check(self, n: int, ids: Sequence[str]) -> list[ChatFile]:
        """
        Return the files that event ``n`` of the client names.

        Raises ``FrameError`` unless all are this session's.
        """
        try:
            return await self.named(ids)
        except FileRefused as error:
            raise FrameError("forbidden", error.detail, n=n) from error
        except DatabaseError as error:
            detail = "the files could not be looked up; try again"
            raise FrameError("storage_unavailable", detail, n=n, retry_after=RETRY_AFTER) from error

    async def check_answer(self, n: int, data: Any, asked: dict[str, Any]) -> None:
        """
        Raise ``FrameError`` unless answer ``n`` names files of this session, as ``asked`` for.

        Data of another shape is for others to refuse.
        """
        ids = data.get("files") if isinstance(data, dict) else None
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            return
        for file in await self.check(n, ids):
            if not _is_accepted(file, asked.get("accept", ["*/*"])):
                raise FrameError("bad_frame", f"the answer: {file.mime} is not asked for", n=n)
            if file.size > asked.get("max_size_mb", inf) * 1024 * 1024:
                raise FrameError("bad_frame", "the answer: the file is too large", n=n)


def _is_accepted(file: ChatFile, accept: Sequence[str] | dict[str, Sequence[str]]) -> bool:
    """Return True if a question asks for such a file, by its type or by its ending."""
    named = [accept] if not isinstance(accept, dict) else accept.values()
    endings = {one.lower() for names in named for one in names if one.startswith(".")}
    return suffix_of(file.name) in endings or accepts(accept, file.mime)


def _save(
    session_id: UUID,
    name: str,
    content: bytes | str | BinaryIO | None,
    path: str | os.PathLike[str] | None,
    mime: str | None,
) -> ChatFile:
    if path is not None:
        with Path(path).open("rb") as found:
            return _store(session_id, name, File(found), mime)
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes | bytearray | memoryview):
        return _store(session_id, name, ContentFile(bytes(content)), mime)
    return _store(session_id, name, File(content), mime)


def _store(session_id: UUID, name: str, content: File[Any], mime: str | None) -> ChatFile:
    found = normal_type(mime or "") or type_of_name(name) or UNKNOWN
    return store(session_id, content, name=name, mime=found)


async def _in_loop(loop: asyncio.AbstractEventLoop, step: Callable[[], Awaitable[T]]) -> T:
    """Await ``step`` in the event loop of the session's owner."""
    if loop is asyncio.get_running_loop():
        return await step()

    async def there() -> T:
        return await step()

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))

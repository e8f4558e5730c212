"""``ChatFile``: a stored file of a session, as handlers have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, cast
from uuid import UUID

from asgiref.sync import sync_to_async

from chatsessions.storable import serializable

from .storage import SessionStorage


@serializable(name="chatsessions.ChatFile")
@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFile:
    """
    One file of a session: the user's, or one that the application has saved for it.

    ``name`` is for showing, and never where the file lies. ``mime`` is its type, which its
    content was compared with; ``size`` is in bytes. Can be kept in ``user_session``.
    """

    id: str
    name: str
    mime: str
    size: int
    session_id: UUID
    created_at: datetime
    #: What the storage calls it.
    key: str = field(repr=False)

    @property
    def type(self) -> str:
        """``mime``, as Chainlit calls it."""
        return self.mime

    @property
    def path(self) -> str:
        """
        The path of the file on this machine. To be read only.

        Raises ``NotImplementedError`` for a storage that is elsewhere, such as S3.
        """
        try:
            return SessionStorage().path(self.key)
        except NotImplementedError as error:
            raise NotImplementedError(
                f"{self.name!r} lies in a storage without local paths. Read it with "
                "'await file.read()', or with 'with file.open() as content:' in a def."
            ) from error

    def open(self) -> BinaryIO:
        """
        The content, to be read in binary and closed: ``with file.open() as content:``.

        It blocks, and so belongs into a ``def``. Raises ``FileNotFoundError`` for a file that is
        deleted, and what the storage raises.
        """
        return cast("BinaryIO", SessionStorage().open(self.key, "rb"))

    async def read(self) -> bytes:
        """The whole content. Raises what :meth:`open` raises."""
        return await sync_to_async(self._read, thread_sensitive=False)()

    def _read(self) -> bytes:
        with self.open() as content:
            return content.read()

    def as_event(self) -> dict[str, Any]:
        """The file as the wire knows it."""
        return {"id": self.id, "name": self.name, "mime": self.mime, "size": self.size}

"""``context.session``, as bots written for Chainlit know it."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import os
import shutil
import tempfile
import weakref
from contextvars import ContextVar
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import chatsessions
from chatsessions.exceptions import ContextNotFound
from chatsessions.files.types import clean_name, normal_type, suffix_of
from chatsessions.handlers.context import Context, find_context
from chatsessions.handlers.session import Session

from .names import NAMES
from .types import FileDict, FileReference
from .user import PersistedUser

ClientType = Literal["webapp", "copilot", "teams", "slack", "discord"]

#: The key of ``user_session.local`` that has the session's object.
KEY = "chatsessions.chainlit"
#: The most sent messages that are kept, to be changed by their ids.
MAX_SENT = 200

#: Whether the running handler sets lost values again. Its messages are not shown then.
rebuilding: ContextVar[bool] = ContextVar("chatsessions_chainlit_rebuilding", default=False)

#: The steps that the running code belongs to, the innermost last.
local_steps: ContextVar[list[Any] | None] = ContextVar("local_steps", default=None)


class ChainlitContextException(ContextNotFound):  # noqa: N818, RUF100  # Chainlit's name
    """No session is current here."""

    def __init__(self, msg: str = "Chainlit context not found") -> None:
        super().__init__("chainlit.context")
        self.args = (f"{msg}: {self.args[0]}",)


class BaseSession:
    """
    One conversation.

    There is a new object whenever a worker takes the session. ``files`` has the files that were
    sent or saved since then.
    """

    #: The type that the client gives itself.
    client_type = property(attrgetter("_session.client_type"))
    #: The client's own keys.
    user_env = property(attrgetter("_session.env"))
    #: The settings as they are now.
    chat_settings = property(attrgetter("_session.chat_settings"))
    #: The client's language.
    language = property(attrgetter("_session.language"))
    #: Whether this worker has loaded the session; False if it has made it.
    restored = property(attrgetter("_session.restored"))

    def __init__(self, session: object = None, *_args: object, **_kwargs: object) -> None:
        if not isinstance(session, Session):
            instead = NAMES["init_ws_context"].text
            raise TypeError(f"A {type(self).__name__} is not made by a bot. Instead: {instead}")
        self._session = session
        self.files: dict[str, FileDict] = {}
        self.files_spec: dict[str, Any] = {}
        self.chat_started = True
        self.current_task: asyncio.Task[Any] | None = None
        #: Chainlit's login token. It is None, because Django's login uses a cookie.
        self.token: str | None = None
        self.environ: dict[str, Any] = {}
        #: The thread that on_chat_resume was called for.
        self.thread_id_to_resume: str | None = None
        self.has_first_interaction = session.restored
        #: The messages and steps that were recently sent, by id.
        self.sent: dict[str, Any] = {}
        #: Held while lost values are set again.
        self.building = asyncio.Lock()
        self.is_built = False
        self._folder: Path | None = None

    @property
    def id(self) -> str:
        """The session's id, as text."""
        return str(self._session.id)

    @property
    def thread_id(self) -> str:
        """The thread's id, as text."""
        return str(self._session.thread_id)

    @property
    def user(self) -> PersistedUser | None:
        """The logged-in user; None if there is none."""
        return PersistedUser.of(self._session.user)

    @property
    def chat_profile(self) -> str | None:
        """The profile that was chosen; None if there is none."""
        return self._session.profile or None

    @property
    def socket_id(self) -> str:
        """The session's id: connections have none."""
        return self.id

    @property
    def mcp_sessions(self) -> dict[str, Any]:
        """Raise ``AttributeError``, which says what to do instead."""
        raise _not_here("mcp_sessions", "McpSession")

    @property
    def config(self) -> Any:
        """Raise ``AttributeError``, which says what to do instead."""
        raise _not_here("config", "config")

    @property
    def files_dir(self) -> Path:
        """A local folder for the session's files, deleted when the worker lets the session go."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="chatsessions-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    async def persist_file(
        self, name: str, mime: str, path: str | None = None, content: bytes | str | None = None
    ) -> FileReference:
        """Save a file of the session. Raises what ``context.session.save_file()`` raises."""
        if not path and not content:
            raise ValueError("Give persist_file() a path or content.")
        file = await self.save(name, mime, path, content)
        return {"id": file.id}

    async def save(
        self, name: str, mime: str, path: str | None, content: bytes | str | None
    ) -> chatsessions.ChatFile:
        """
        Save a file of the session, and return the core's object.

        While lost values are set again, return the file that was saved by this name, if any.
        """
        file = None
        if rebuilding.get():
            saved = [one for one in await self._session.files() if one.name == clean_name(name)]
            # The first, if possible one that was not returned before.
            file = min(saved, key=lambda one: one.id in self.files, default=None)
        if file is None:
            source: dict[str, Any] = {"path": path} if path else {"content": content}
            file = await self._session.save_file(name, mime=normal_type(mime) or None, **source)
        await self.keep(file)
        return file

    async def keep(self, file: chatsessions.ChatFile) -> FileDict:
        """Add a file to ``files``, with a local path that has the extension of its name."""
        if file.id not in self.files:
            suffix = suffix_of(file.name) or mimetypes.guess_extension(file.mime) or ""
            path = self.files_dir / f"{file.id}{suffix}"
            try:
                await asyncio.to_thread(_link, file.path, path)
            except NotImplementedError:  # the storage has no local paths
                content = await file.read()
                await asyncio.to_thread(path.write_bytes, content)
            self.files[file.id] = FileDict(
                id=file.id, name=file.name, path=path, size=file.size, type=file.mime
            )
        return self.files[file.id]

    async def delete(self) -> None:
        """Delete ``files_dir``, and forget ``files``; they stay files of the session."""
        folder, self._folder = self._folder, None
        self.files.clear()
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def to_persistable(self) -> dict[str, Any]:
        """Return the values of ``user_session`` as JSON has them, with settings and profile."""
        values = dict(chatsessions.user_session)
        values["chat_settings"] = self.chat_settings
        values["chat_profile"] = self.chat_profile
        values["client_type"] = self.client_type
        values["env"] = {}
        persistable: dict[str, Any] = json.loads(json.dumps(values, default=lambda _: None))
        return persistable

    async def emit(self, event: str, data: Any = None) -> None:
        """Send an event to the client, which a page gets as ``chat-event``."""
        emitter = here().emitter
        if not rebuilding.get():
            await emitter.emit(event, data)

    async def emit_call(
        self, event: str, data: dict[str, Any] | None = None, timeout: float | None = None
    ) -> Any:
        """Ask the client, by a question of the kind ``event``, and return its answer."""
        return await here().emitter.call(event, data, timeout=timeout)

    def remember(self, sent: Any) -> None:
        """Keep a sent message or step, so that it can be changed by its id."""
        self.sent[sent.id] = sent
        while len(self.sent) > MAX_SENT:
            del self.sent[next(iter(self.sent))]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class HTTPSession(BaseSession):
    """The session of a client of ``ChatView``."""


class WebsocketSession(BaseSession):
    """The session of a page."""

    @classmethod
    def get(cls, socket_id: str) -> BaseSession | None:
        """Return the current session if it has this id."""
        return cls.get_by_id(socket_id)

    @classmethod
    def get_by_id(cls, session_id: str) -> BaseSession | None:
        """Return the current session if it has this id."""
        if find_context() is None:
            return None
        found = current_session()
        return found if found.id == session_id else None

    @classmethod
    def require(cls, socket_id: str) -> BaseSession:
        """Return the current session. Raises ``ValueError`` if it has another id."""
        found = cls.get(socket_id)
        if found is None:
            raise ValueError("Session not found")
        return found


def here() -> Context:
    """Return the core's context. Raises ``ChainlitContextException`` if there is none."""
    found = find_context()
    if found is None:
        raise ChainlitContextException
    return found


def current_session() -> BaseSession:
    """
    Return the session that the running code belongs to.

    Raises ``ChainlitContextException`` if there is none.
    """
    found = here()
    local = found.user_session.local
    if KEY not in local:
        cls = HTTPSession if found.session.client_type == "http" else WebsocketSession
        local[KEY] = cls(found.session)
    session: BaseSession = local[KEY]
    return session


def current_thread_id() -> str:
    """Return the id of the current thread; "" where no session is current."""
    return "" if find_context() is None else current_session().thread_id


def utc_now() -> str:
    """Return the current time as Chainlit writes it."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat() + "Z"


def _not_here(attribute: str, name: str) -> AttributeError:
    return AttributeError(f"A session has no {attribute}. Instead: {NAMES[name].text}")


def _link(source: str, path: Path) -> None:
    try:
        os.symlink(source, path)
    except OSError:  # not every system allows it
        shutil.copyfile(source, path)

"""``Message`` and the questions, by Chainlit's signatures, on the messages of ``chatsessions``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Self, cast
from uuid import uuid4

import chatsessions
from chatsessions.handlers.messages import DEFAULT_AUTHOR, TYPES
from chatsessions.storage.conversation import TEXT

from .action import Action
from .element import Element
from .registry import author_of
from .session import current_session, current_thread_id, here, local_steps, rebuilding, utc_now
from .types import AskActionResponse, AskFileResponse, StepDict

#: The attributes that are stored with a message.
KEPT = ("type", "thread_id", "parent_id", "created_at", "language", "metadata", "tags", "actions")


class MessageBase:
    """The base class of messages and questions. Attributes may be set until it is sent."""

    streaming = False
    persisted = False
    is_error = False
    wait_for_answer = False
    fail_on_persist_error = False
    parent_id: str | None = None
    language: str | None = None
    command: str | None = None
    modes: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    created_at: str | None = None
    core_class: ClassVar[type[chatsessions.Message]] = chatsessions.Message

    def __init__(
        self,
        content: object,
        author: str | None,
        type_: str = "assistant_message",
        id_: str | None = None,
    ) -> None:
        self.type = type_
        self.actions: list[Action] = []
        self.elements: list[Element] = []
        #: The elements that are under the message until they are removed, by id.
        self.shown: dict[str, Element] = {}
        #: The files that the stored message had.
        self.earlier_files: list[chatsessions.ChatFile] = []
        #: The core's message, which is sent.
        self.core = self.core_class("", author=author or DEFAULT_AUTHOR, id=id_ or str(uuid4()))
        self.content = cast("str", content)
        self.thread_id = current_thread_id()
        steps = local_steps.get()
        if steps:
            self.parent_id = steps[-1].id

    @property
    def id(self) -> str:
        """The id of the message, also on the wire."""
        return self.core.id

    @id.setter  # noqa: A003
    def id(self, value: str) -> None:
        self.core.id = str(value)

    @property
    def author(self) -> str:
        """The author's name."""
        return self.core.author

    @author.setter
    def author(self, value: str | None) -> None:
        self.core.author = value or DEFAULT_AUTHOR

    @property
    def content(self) -> str:
        """The text, with all tokens so far."""
        return self.core.content

    @content.setter
    def content(self, value: object) -> None:
        self.core.content = "" if value is None else value

    def to_dict(self) -> StepDict:
        """Return the message as a dict."""
        return {
            "id": self.id,
            "threadId": self.thread_id,
            "parentId": self.parent_id,
            "createdAt": self.created_at,
            "command": self.command,
            "modes": self.modes,
            "start": self.created_at,
            "end": self.created_at,
            "output": self.content,
            "name": self.author,
            "type": self.type,
            "language": self.language,
            "streaming": self.streaming,
            "isError": self.is_error,
            "waitForAnswer": self.wait_for_answer,
            "metadata": self.metadata or {},
            "tags": self.tags,
        }

    @classmethod
    def from_dict(cls, _dict: StepDict) -> Message:
        """Return the message that ``_dict`` describes."""
        return Message(
            id=_dict["id"],
            parent_id=_dict.get("parentId"),
            created_at=_dict["createdAt"],
            content=_dict["output"],
            author=_dict.get("name", DEFAULT_AUTHOR),
            command=_dict.get("command"),
            modes=_dict.get("modes"),
            type=_dict.get("type", "assistant_message"),
            language=_dict.get("language"),
            metadata=_dict.get("metadata", {}),
        )

    async def send(self) -> Any:
        """Send the message, and return it; a streamed message is sent whole."""
        await self._show(self.core.send)
        self.persisted = True
        current_session().remember(self)
        return self

    async def update(self) -> bool:
        """Send the message as it is now, in place of what was sent before."""
        await self._show(self.core.update)
        return True

    async def remove(self) -> bool:
        """Take the message out of the conversation."""
        current_session()
        if not rebuilding.get():
            await self.core.remove()
        return True

    async def stream_token(self, token: str, is_sequence: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        """Add ``token`` and show it at once; with ``is_sequence`` it replaces the text so far."""
        session = current_session()
        if not token:
            return
        if rebuilding.get():
            self.content = token if is_sequence else self.content + token
            return
        if not self.streaming:
            self.streaming = True
            session.remember(self)
            self._describe()
        await self.core.stream_token(token, is_sequence)

    async def _show(self, deliver: Callable[[], Awaitable[object]]) -> None:
        """Send the message as it is now, and the URLs of its elements that are no files, once."""
        current_session()
        await self._prepare()
        if rebuilding.get():
            return
        await deliver()
        for element in self.elements:
            if element.file is None and not element.is_said:
                await element.say()

    async def _prepare(self) -> None:
        """Copy the message's current values to the core's message."""
        self.created_at = self.created_at or utc_now()
        self.streaming = False
        self.author = await author_of(self.author)
        self._describe()
        if rebuilding.get():
            return
        for element in self.elements:
            element.for_id = self.id
            await element.save()
            self.shown[element.id] = element
        shown = [one.file for one in self.shown.values() if one.file is not None]
        self.core.files = [*self.earlier_files, *shown]
        # Before forId is set: the core shows a new action, but not one again that was removed.
        self.core.actions = [action.as_offered() for action in self.actions]
        for action in self.actions:
            action.forId = self.id

    def _describe(self) -> None:
        metadata = dict(self.metadata or {})
        if self.language:
            metadata.setdefault("language", self.language)
            self.core.format = TEXT
        self.core.metadata = metadata or None
        known: Any = self.type if self.type in TYPES else "assistant_message"
        self.core.type = known

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} by {self.author}: {self.content[:40]!r}>"


@chatsessions.serializable(name="chatsessions.chainlit.Message")
class Message(MessageBase):
    """
    A message of the conversation.

    ``content`` is a text; a dict is shown as JSON, anything else by ``str``. ``elements`` are files
    that it comes with, ``actions`` buttons under it.
    """

    def __init__(
        self,
        content: object = "",
        author: str | None = None,
        language: str | None = None,
        actions: list[Action] | None = None,
        elements: list[Any] | None = None,
        type: str = "assistant_message",  # noqa: A002  # Chainlit's name
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
        id: str | None = None,  # noqa: A002  # Chainlit's name
        parent_id: str | None = None,
        command: str | None = None,
        modes: dict[str, str] | None = None,
        created_at: str | None = None,
    ) -> None:
        if isinstance(content, dict):
            try:
                content, language = json.dumps(content, indent=4, ensure_ascii=False), "json"
            except TypeError:
                content, language = str(content), "text"
        elif not isinstance(content, str):
            content, language = str(content), "text"
        super().__init__(content, author, type, id and str(id))
        self.language = language
        self.metadata = metadata
        self.tags = tags
        self.actions = list(actions or [])
        self.elements = list(elements or [])
        self.command = command
        self.modes = modes
        self.created_at = created_at
        if parent_id:
            self.parent_id = str(parent_id)

    @classmethod
    async def received(cls, message: chatsessions.Message) -> Self:
        """Return a message of the user, with its files."""
        session = current_session()
        session.has_first_interaction = True
        made = cls.of(message)
        made.elements = [await Element.received(file) for file in message.files]
        for element in made.elements:
            element.for_id = made.id
        # The elements have the files already.
        made.earlier_files, made.shown = [], {one.id: one for one in made.elements}
        session.remember(made)
        return made

    @classmethod
    def of(cls, message: chatsessions.Message) -> Self:
        """Return a message of the core, without its files."""
        metadata = message.metadata
        made = cls(
            message.content,
            author=message.author,
            actions=[Action.of(action) for action in message.actions],
            type=message.type,
            metadata=metadata,
            language=(metadata or {}).get("language"),
            id=message.id,
            created_at=message.created_at.isoformat(),
        )
        made.core, made.earlier_files = message, list(message.files)
        made.parent_id = None
        made.persisted = True
        made.is_error = isinstance(message, chatsessions.ErrorMessage)
        return made

    async def remove_actions(self) -> None:
        """Take all buttons off the message."""
        current_session()
        self.actions = []
        if not rebuilding.get():
            await self.core.remove_actions()

    def to_storable(self) -> dict[str, Any]:
        """Return what ``user_session`` stores: the core's message, and the other attributes."""
        self._describe()
        return {"core": self.core} | {name: kept for name in KEPT if (kept := getattr(self, name))}

    @classmethod
    def from_storable(cls, data: dict[str, Any]) -> Self:
        """Return the message that was stored as ``data``."""
        core = data["core"]
        made = cls(core.content, core.author, id=core.id)
        vars(made).update(data)
        made.earlier_files = list(core.files)
        return made


class ErrorMessage(MessageBase):
    """A message that tells the user what went wrong."""

    core_class = chatsessions.ErrorMessage
    is_error = True

    def __init__(
        self,
        content: str,
        author: str = DEFAULT_AUTHOR,
        fail_on_persist_error: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
    ) -> None:
        super().__init__(content, author)
        self.fail_on_persist_error = fail_on_persist_error


class AskMessageBase(MessageBase):
    """A question; :meth:`send` waits for the answer. ``timeout`` is in seconds."""

    def __init__(
        self,
        content: str,
        author: str = DEFAULT_AUTHOR,
        type: str = "assistant_message",  # noqa: A002  # Chainlit's name
        timeout: float = 60,
        raise_on_timeout: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
    ) -> None:
        super().__init__(content, author, type)
        self.timeout = timeout
        self.raise_on_timeout = raise_on_timeout
        self._asking: asyncio.Future[Any] | None = None

    async def _ask(self, kind: Callable[..., Any], **options: Any) -> Any:
        """
        Ask a question of the core's class ``kind``, and return the answer.

        Return None if there was none, or if the question was taken back.
        """
        question = kind(
            self.content,
            timeout=self.timeout,
            raise_on_timeout=self.raise_on_timeout,
            **options,
        )
        current_session()
        await self._prepare()
        question.author = self.author
        self.wait_for_answer = True
        # Ask in the turn's own task, so that the core knows that the handler waits.
        task = asyncio.current_task()
        asking = self._asking = asyncio.get_running_loop().create_future()

        def take_back(_: object) -> None:
            if task is not None and self._asking is asking:  # else the answer has come meanwhile
                task.cancel("taken back")

        asking.add_done_callback(take_back)
        try:
            return await question.send()
        except asyncio.CancelledError:
            if not asking.done() or task is None or task.uncancel() > 0:
                raise
            return None
        finally:
            self._asking = None
            self.wait_for_answer = False

    async def remove(self) -> bool:
        """Take the question back if it is open: the waiting :meth:`send` returns None."""
        here()
        if self._asking is not None and not self._asking.done():
            self._asking.set_result(None)
        return True


class AskUserMessage(AskMessageBase):
    """Asks for a text."""

    async def send(self) -> StepDict | None:
        """Ask, and return the answer as a dict whose ``output`` is the text; None without one."""
        answer = await self._ask(chatsessions.AskUserMessage)
        if answer is None:
            return None
        said = Message(
            answer["output"], "User", type="user_message", created_at=answer["createdAt"]
        )
        return cast("StepDict", {**said.to_dict(), "forId": self.id})


class AskFileMessage(AskMessageBase):
    """Asks for files, of the types and endings that ``accept`` names."""

    def __init__(
        self,
        content: str,
        accept: list[str] | dict[str, list[str]] | str,
        max_size_mb: float = 2,
        max_files: int = 1,
        author: str = DEFAULT_AUTHOR,
        type: str = "assistant_message",  # noqa: A002  # Chainlit's name
        timeout: float = 90,
        raise_on_timeout: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
    ) -> None:
        super().__init__(content, author, type, timeout, raise_on_timeout)
        self.accept = accept
        self.max_size_mb = max_size_mb
        self.max_files = max_files

    async def send(self) -> list[AskFileResponse] | None:
        """Ask, and return the files that were given; None without an answer."""
        files = await self._ask(
            chatsessions.AskFileMessage,
            accept=[self.accept] if isinstance(self.accept, str) else self.accept,
            max_size_mb=self.max_size_mb,
            max_files=self.max_files,
        )
        if not files:
            return None
        session = current_session()
        kept: list[Any] = [await session.keep(file) for file in files]
        return [AskFileResponse(**one | {"path": str(one["path"])}) for one in kept]


class AskActionMessage(AskMessageBase):
    """Asks for one of ``actions``."""

    def __init__(
        self,
        content: str,
        actions: list[Action],
        author: str = DEFAULT_AUTHOR,
        timeout: float = 90,
        raise_on_timeout: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
    ) -> None:
        super().__init__(content, author, timeout=timeout, raise_on_timeout=raise_on_timeout)
        self.actions = list(actions)

    async def send(self) -> AskActionResponse | None:
        """Ask, and return the action that was chosen as a dict; None without an answer."""
        offered = [action.as_offered() for action in self.actions]
        chosen = await self._ask(chatsessions.AskActionMessage, actions=offered)
        if chosen is None:
            self.content = "Timed out: no action was taken"
            return None
        self.content = f"**Selected:** {chosen['label']}"
        chosen.pop("icon", None)
        return cast("AskActionResponse", chosen | {"forId": self.id})

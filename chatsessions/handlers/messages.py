"""What handlers send: messages, and the buttons under them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import NoneType
from typing import Any, Literal, Self, TypeVar
from uuid import UUID, uuid4

from chatsessions.conf import settings, with_offset
from chatsessions.files.storage import ChatFile
from chatsessions.storage.conversation import (
    ASSISTANT,
    FORMATS,
    MARKDOWN,
    SYSTEM,
    TEXT,
    USER,
    Format,
    Type,
)
from chatsessions.storage.storable import serializable

from .bridge import also_sync, has_to_be_awaited
from .context import Context, current, find_context, owner_loop
from .emitter import Effects, Streaming, Types, as_text, check_types

R = TypeVar("R")

DEFAULT_AUTHOR = "Assistant"
USER_AUTHOR = "User"
TYPES = (USER, ASSISTANT, SYSTEM)
_ATTRIBUTES: Types = {
    "id": (str, "a str"),
    "author": (str, "a str"),
    "created_at": (datetime, "a datetime"),
    "metadata": ((dict, NoneType), "a dict or None"),
}


def checked_format(given: Format) -> Format:
    """Return ``given``. Raises ``ValueError`` if it is no format."""
    if given not in FORMATS:
        raise ValueError(f"format is {given!r}; there are: {', '.join(FORMATS)}.")
    return given


def default_format(here: Context | None) -> Format:
    """Return the format of the messages of the chat of ``here``, or ``MESSAGE_FORMAT``."""
    chosen: Format | None = None if here is None else here.chat.message_format
    return chosen or settings.MESSAGE_FORMAT


def format_of(content: object, given: Format | None) -> Format | None:
    """
    Return the format of a new text; None for the default of the chat that it is sent in.

    Content that is not a str is converted, and its format is ``text``. Raises ``ValueError`` if
    ``given`` is no format.
    """
    if given is not None:
        return checked_format(given)
    return None if isinstance(content, str) else TEXT


@serializable(name="chatsessions.Action")
class Action:
    """
    A button under a message, which the user may choose.

    ``name`` says which ``on_action`` handler runs. ``payload`` is a dict for the handler, which the
    client sees and cannot change. ``icon`` is one of a few names, or a sign that the page shows.
    """

    def __init__(
        self,
        name: str,
        payload: dict[str, Any] | None = None,
        *,
        label: str = "",
        tooltip: str = "",
        icon: str | None = None,
        id: str | None = None,  # noqa: A002  # the wire's name
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"An action needs a name, not {name!r}.")
        if payload is not None and not isinstance(payload, dict):
            raise TypeError(
                f"An action's payload is a dict, not {type(payload).__name__}: "
                f"write payload={{'value': {payload!r}}}."
            )
        self.id = str(id or uuid4())
        self.name = name
        self.payload = payload or {}
        self.label = label
        self.tooltip = tooltip
        self.icon = icon
        #: The id of the message that it was sent with.
        self.message_id: str | None = None

    @classmethod
    def offered(cls, data: dict[str, Any]) -> Self:
        """Return the action that was stored as ``data`` when it was offered."""
        action = cls(
            data["name"],
            data.get("payload"),
            label=data.get("label", ""),
            tooltip=data.get("tooltip", ""),
            icon=data.get("icon"),
            id=data["id"],
        )
        action.message_id = data.get("message")
        return action

    def as_event(self) -> dict[str, Any]:
        """Return the action as it goes over the wire."""
        return {
            "id": self.id,
            "name": self.name,
            "payload": self.payload,
            "label": self.label or self.name,
            "tooltip": self.tooltip,
            "icon": self.icon,
        }

    @also_sync(owner_loop)
    async def remove(self) -> None:
        """
        Take the button off its message; the action is not offered any more.

        Later updates of the message leave the action out, even if the message's ``actions`` still
        have it. Nothing happens if the button is gone already. Raises what
        ``context.emitter.emit`` raises.
        """
        await current("Action.remove").emitter.withdraw(self.id)

    @property
    def forId(self) -> str | None:  # noqa: N802  # Chainlit's name
        """The id of the message that it was sent with."""
        return self.message_id

    def to_storable(self) -> dict[str, Any]:
        """Return what ``user_session`` stores of an action."""
        return self.as_event() | {"label": self.label, "message": self.message_id}

    @classmethod
    def from_storable(cls, data: dict[str, Any]) -> Self:
        """Return the action that was stored as ``data``."""
        return cls.offered(data)

    def __repr__(self) -> str:
        return f"<Action {self.name} {self.id}>"


def check_actions(actions: list[Action]) -> None:
    """Raise ``TypeError`` unless all are actions."""
    for action in actions:
        if not isinstance(action, Action):
            raise TypeError(
                f"The actions of a message are a list of Action, and {action!r:.80} is none: write "
                'actions=[Action("name", label="Text on the button")].'
            )


@serializable(name="chatsessions.Feedback")
@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """The user's rating of an answer."""

    #: The id of the message.
    message_id: str
    #: ``up`` or ``down``; None if the user has taken the rating back.
    value: Literal["up", "down"] | None
    comment: str = ""


@serializable(name="chatsessions.Message")
class Message(Streaming):
    """
    A message of the conversation.

    ``content`` is a text; a dict or list is shown as JSON, anything else by ``str``. ``format``
    says how the text is to be read: ``text`` or ``markdown``; the default is the chat's format.
    ``metadata`` is JSON that is sent with it, ``actions`` are buttons under it, ``files`` are files
    of the session. ``type`` says whose part of the conversation it is, by Chainlit's names:
    ``assistant_message``, ``user_message`` or ``system_message``.

    ``on_message`` gets what the user sent. A message that a handler makes goes to the client by
    :meth:`send` or :meth:`stream_token`. Both are awaited; where no event loop runs, as in a
    handler written as ``def``, they are called without ``await``.
    """

    def __init__(
        self,
        content: object = "",
        *,
        format: Format | None = None,  # noqa: A002  # the wire's name
        author: str = DEFAULT_AUTHOR,
        metadata: dict[str, Any] | None = None,
        actions: Sequence[Action] = (),
        files: Iterable[ChatFile] = (),
        elements: Iterable[ChatFile] = (),  # Chainlit's name for them
        id: str | None = None,  # noqa: A002  # the wire's name
        created_at: datetime | None = None,
        type: Type = ASSISTANT,  # noqa: A002  # Chainlit's name
    ) -> None:
        if type not in TYPES:
            raise ValueError(f"type is {type!r}; there are: {', '.join(TYPES)}.")
        self.id = str(id or uuid4())
        self._parts = [content if isinstance(content, str) else as_text(content)]
        self.author = author
        self.type = type
        #: None for the format of the chat that it is sent in.
        self._format: Format | None = None
        if format is not None or not isinstance(content, str):
            self._format = format_of(content, format)
            self._check_text()
        self.metadata = metadata
        self.actions = list(actions)
        self.files = [*files, *elements]
        #: The files of a message that was read from the log; ``files``, if any, replace them.
        self.files_in_log: list[dict[str, Any]] = []
        #: With an offset, also where the project's own times have none.
        self.created_at = datetime.now(UTC) if created_at is None else with_offset(created_at)
        #: The session whose log it is in.
        self._sent_in: UUID | None = None
        #: The session and the number of the event, for a message of the client.
        self.event: tuple[UUID, int] | None = None
        #: The number of the message that this one replaces, if the user has sent one again.
        self.replaces: int | None = None
        #: Whether the client may still show buttons of this message.
        self._offers = False

    @property
    def format(self) -> Format:
        """How ``content`` is to be read. A user's message is always ``text``."""
        if self.type == USER:
            return TEXT
        return self._format or default_format(find_context())

    @format.setter  # noqa: A003, RUF100  # the wire's name
    def format(self, value: Format) -> None:
        self._format = checked_format(value)
        self._check_text()

    def _check_text(self) -> None:
        if self.type == USER and self._format == MARKDOWN:
            raise ValueError("What a user says is text: a user_message has no other format.")

    @property
    def elements(self) -> list[ChatFile]:
        """``files``, by Chainlit's name."""
        return self.files

    @also_sync(owner_loop)
    async def send(self) -> Self:
        """
        Send the message; if it streams, send the whole text and close its stream.

        When this returns, the message is an entry of the log. The client gets it when the entry is
        stored. Raises what ``context.emitter.emit`` raises, ``TypeError`` for an attribute of a
        wrong type, and ``ValueError`` for a file of another session, which the client could not
        fetch.
        """
        here = current("Message.send")
        if self._sent_in == here.session.id:
            return await self.update()
        await self._emit(here, here.emitter.append)
        return self

    def _emit(self, here: Context, append: Callable[..., R], *, opens: bool = False) -> R:
        """
        Append the message as it is now, with ``append``. This closes its stream, or ``opens`` it.

        The event ``message`` is always a message of the application, even if a client has sent the
        message in another session.
        """
        if self._format is None and self.type != USER:
            # Fixed now: the stream may be closed where no chat is current.
            self._format = default_format(here)
        if self.actions:
            check_actions(self.actions)
            # Without those that this message was sent with and that were taken off it since.
            withdrawn = here.emitter.withdrawn(self.id)
            self.actions = [
                action
                for action in self.actions
                if action.message_id != self.id or action.id not in withdrawn
            ]
        is_new = self._sent_in != here.session.id
        event = self.as_event() | {"streaming": opens}
        for file in self.files:
            if file.session_id != here.session.id:
                raise ValueError(
                    f"{file.name!r} is a file of session {file.session_id}, and the message is of "
                    f"{here.session.id}. Save it there first: await context.session.save_file(…)."
                )
        if is_new:
            event.pop("n", None)
        offers = None
        # Not for a message of the user: its id may be that of a message with buttons.
        if (is_new or self.event is None) and (self.actions or self._offers):
            offers = (self.id, [action.as_event() for action in self.actions])
        return append(
            "message" if is_new else "message_update",
            event,
            appended=partial(self._appended, here.session.id, is_new=is_new),
            offers=offers,
            opens=self if opens else None,
            closes=self if self._streaming and not opens else None,
        )

    def _appended(self, session_id: UUID, *, is_new: bool) -> None:
        """Record that the message, as it is now, is in the log of a session."""
        self._sent_in = session_id
        if is_new:
            self.event = None
        if self.event is None:
            self._offers = bool(self.actions)
            for action in self.actions:
                action.message_id = self.id

    def mark_sent(self, sent: bool) -> None:  # noqa: FBT001, RUF100
        """Record whether the message, as it is now, is in the log of the current session."""
        here = find_context()
        if sent and here is not None:
            self._appended(here.session.id, is_new=False)
        else:
            self._sent_in = None

    def came_as(self, session_id: UUID, n: int) -> None:
        """Record that the client sent the message as event ``n`` of a session."""
        self.event = (session_id, n)
        self._sent_in = session_id

    @also_sync(owner_loop)
    async def update(self) -> Self:
        """
        Send the message as it is now, in place of what was sent before.

        A message of the user can be updated too. Raises ``ValueError`` if such a message has
        ``actions``.
        """
        here = current("Message.update")
        if self._sent_in != here.session.id:
            return await self.send()
        if self.event is not None and self.actions:
            raise ValueError(
                "Buttons cannot be put under what the user has sent: send them with a message of "
                "the application's own."
            )
        await self._emit(here, here.emitter.append)
        return self

    @also_sync(owner_loop)
    async def remove_actions(self) -> None:
        """Take all buttons off the message; none of them is offered any more."""
        self.actions = []
        self._offers = True
        await self.update()

    @also_sync(owner_loop)
    async def remove(self) -> Self:
        """
        Take the message out of the conversation. Its entries stay in the log.

        A message of the user can be removed too. Nothing happens if the message was not sent in
        this session.
        """
        here = current("Message.remove")
        if self._sent_in != here.session.id:
            return self
        data: dict[str, Any] = {"id": self.id}
        effects: Effects = {"appended": partial(self.mark_sent, False)}
        if self.event is not None:
            data["n"] = self.event[1]
        else:
            effects["offers"] = (self.id, [])
            effects["closes"] = self if self._streaming else None
        await here.emitter.append("message_remove", data, **effects)
        return self

    @also_sync(owner_loop)
    async def stream_token(self, token: str, is_sequence: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        """
        Add ``token`` to the message and show it at once.

        The first token opens the stream. :meth:`send` or :meth:`update` closes it, and so does the
        end of the turn. With ``is_sequence`` the token replaces the text so far. Raises
        ``ValueError`` for a message of the user, and what ``context.emitter.emit`` raises.
        """
        here = current("Message.stream_token")
        opening = None
        is_here = self._sent_in == here.session.id
        if not self._streaming or not is_here:
            if is_here and self.event is not None:
                raise ValueError(
                    "Tokens cannot be added to what the user has sent: change its content "
                    "and call update(), or stream a message of the application's own."
                )
            self._format = self.format
            opening = partial(self._emit, here, here.emitter.append_now, opens=True)
        await here.emitter.stream(self, token, opening=opening, replaces=is_sequence)

    def as_event(self) -> dict[str, Any]:
        """
        Return the message as it goes over the wire.

        Raises ``TypeError`` for an attribute of a wrong type.
        """
        check_types(self, _ATTRIBUTES)
        if self.actions:
            check_actions(self.actions)
        for file in self.files:
            if not isinstance(file, ChatFile):
                raise TypeError(
                    f"The files of a message are a list of ChatFile, and {file!r:.80} is none. "
                    "Save it first: file = await context.session.save_file(name, path=…)."
                )
        created_at = self.created_at
        event: dict[str, Any] = {
            "id": self.id,
            "author": self.author,
            "content": self.content,
            "created_at": created_at if created_at.tzinfo else with_offset(created_at),
            "streaming": self._streaming,
        }
        if self.metadata is not None:
            event["metadata"] = self.metadata
        if self.actions:
            event["actions"] = [action.as_event() for action in self.actions]
        if self.type != ASSISTANT:
            event["type"] = self.type
        if self.format != TEXT:
            event["format"] = self.format
        if self.files:
            event["files"] = [file.as_event() for file in self.files]
        elif self.files_in_log:
            event["files"] = self.files_in_log
        if self.event is not None:
            event["n"] = self.event[1]
        return event

    def take_off(self, action: str) -> None:
        """Take the button of ``action`` off."""
        self.actions = [one for one in self.actions if one.id != action]

    def to_storable(self) -> dict[str, Any]:
        """Return what ``user_session`` stores of a message."""
        # Not a subclass's as_event(): the loaded message adds the subclass's keys again.
        is_sent = self._sent_in is not None
        stored = Message.as_event(self) | {"streaming": False, "sent": is_sent}
        stored["session"] = self._sent_in if self.event is None else self.event[0]
        stored["offers"] = self._offers
        if self.actions:
            stored["actions"] = [action.to_storable() for action in self.actions]
        if self.files:
            stored["files"] = self.files
        elif self.files_in_log:
            stored["files_in_log"] = stored.pop("files")
        return stored

    @classmethod
    def from_storable(cls, data: dict[str, Any]) -> Self:
        """Return the message that was stored as ``data``."""
        message = cls(
            data["content"],
            format=data.get("format", TEXT),
            author=data["author"],
            metadata=data.get("metadata"),
            actions=[Action.offered(action) for action in data.get("actions", ())],
            files=data.get("files", ()),
            id=data["id"],
            created_at=data["created_at"],
            type=data.get("type", ASSISTANT),
        )
        if data["sent"]:
            message._sent_in = data.get("session")
        if "n" in data:
            message.event = (data["session"], data["n"])
        message._offers = data.get("offers", bool(message.actions))
        message.files_in_log = data.get("files_in_log", [])
        return message

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} by {self.author}: {self.content[:40]!r}>"


@serializable(name="chatsessions.ErrorMessage")
class ErrorMessage(Message):
    """A message that tells the user what went wrong; the page shows it as a failure."""

    def as_event(self) -> dict[str, Any]:
        """Return the message as it goes over the wire, with ``error`` in its metadata."""
        event = super().as_event()
        return event | {"metadata": {**event.get("metadata", {}), "error": True}}


@has_to_be_awaited
async def send_window_message(data: Any) -> None:
    """
    Send ``data``, any JSON, to the window around the page, by ``window.postMessage``.

    It is an event named ``window_message``, in the log like any other. Raises what
    ``context.emitter.emit`` raises.
    """
    await current("send_window_message").emitter.emit("window_message", data)

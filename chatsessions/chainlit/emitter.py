"""``context.emitter``. Methods for what the page cannot show log a warning and do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, get_args

from chatsessions.handlers.messages import TYPES

from .element import Element
from .logger import warn_once
from .message import AskFileMessage, AskUserMessage, ErrorMessage, Message
from .session import BaseSession, here
from .step import Step
from .types import ToastType


def _ignored(name: str) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return a method that does nothing but log a warning, once."""

    async def method(self: BaseChainlitEmitter, *_args: Any, **_kwargs: Any) -> None:
        warn_once(f"emitter.{name}() is ignored: the page of chatsessions does not show it.")

    method.__name__ = name
    method.__doc__ = "Does nothing, and says so in the log, once."
    return method


class BaseChainlitEmitter:
    """Sends to the client of a session."""

    enabled = True

    def __init__(self, session: BaseSession) -> None:
        self.session = session

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the session."""
        return here().emitter.loop

    async def emit(self, event: str, data: Any = None) -> None:
        """Send an event of the application's own, which a page gets as ``chat-event``."""
        await self.session.emit(event, data)

    async def emit_call(
        self, event: str, data: dict[str, Any] | None = None, timeout: float | None = None
    ) -> Any:
        """Ask the client, by a question of the kind ``event``, and return its answer."""
        return await self.session.emit_call(event, data, timeout)

    # Messages and steps, as dicts

    async def send_step(self, step_dict: Any) -> None:
        """Send a message or a step."""
        await self._found(step_dict).send()

    async def update_step(self, step_dict: Any) -> None:
        """Change a message or a step that was sent."""
        found = self._found(step_dict)
        await (found.update() if found.persisted else found.send())

    async def delete_step(self, step_dict: Any) -> None:
        """Remove a message or a step that was sent."""
        await self._found(step_dict).remove()

    async def stream_start(self, step_dict: Any) -> None:
        """Begin a message, or the output of a step, to which :meth:`send_token` adds."""
        found = self._found({**step_dict, "output": ""})
        self.session.remember(found)
        await found.stream_token(step_dict.get("output") or "")

    async def send_token(
        self,
        id: str,  # noqa: A002  # Chainlit's name
        token: str,
        is_sequence: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        is_input: bool = False,  # noqa: FBT001, FBT002, RUF100
    ) -> None:
        """Add a token to a message or a step that was begun or recently sent."""
        found = self.session.sent.get(id)
        if isinstance(found, Step):
            await found.stream_token(token, is_sequence, is_input)
        elif found is not None:
            await found.stream_token(token, is_sequence)

    def _found(self, step_dict: Any) -> Message | Step:
        """Return the sent message or step of a dict, with the dict's values; else a new one."""
        found: Message | Step | None = self.session.sent.get(step_dict["id"])
        if found is None:
            is_message = step_dict.get("type", TYPES[0]) in TYPES
            return _made(step_dict) if is_message else Step.from_dict(step_dict)
        if isinstance(found, Step):
            found.take(step_dict)
            return found
        found.content = step_dict.get("output", found.content)
        found.author = step_dict.get("name", found.author)
        found.metadata = step_dict.get("metadata") or found.metadata
        return found

    async def send_element(self, element_dict: Any) -> None:
        """Send an element: under its message, or as a message of its own."""
        element = await Element.found(element_dict)
        if element is None:
            warn_once(
                "emitter.send_element() ignores an element that has no content, path or url, and "
                "no chainlitKey of a file of the session: save() it first."
            )
            return
        await element.send(for_id=element_dict.get("forId") or "")

    async def process_message(self, payload: Any) -> Message:
        """Return the message of a client's payload."""
        return _made(payload["message"])

    # Questions

    async def send_ask_user(
        self,
        step_dict: Any,
        spec: Any,
        raise_on_timeout: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
    ) -> Any:
        """Ask for a text or for files."""
        text = step_dict.get("output", "")
        options = {"timeout": spec.timeout, "raise_on_timeout": raise_on_timeout}
        if spec.type == "text":
            return await AskUserMessage(text, **options).send()
        if spec.type == "file":
            files = (spec.accept, spec.max_size_mb, spec.max_files)
            return await AskFileMessage(text, *files, **options).send()
        warn_once(f"emitter.send_ask_user() ignores {spec.type!r}: use AskActionMessage.")
        return None

    async def send_call_fn(
        self,
        name: str,
        args: dict[str, Any],
        timeout: float = 300,
        raise_on_timeout: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
    ) -> Any:
        """Ask the client by a question of the kind ``call_fn``; None when the time is up."""
        try:
            return await self.session.emit_call("call_fn", {"name": name, "args": args}, timeout)
        except TimeoutError:
            if raise_on_timeout:
                raise
            return None

    # Around the chat

    def set_chat_settings(self, settings: dict[str, Any]) -> None:
        """Set the settings in memory; ``ChatSettings.send()`` also stores and shows them."""
        given = dict(settings)  # it may be the session's own dict
        self.session.chat_settings.clear()
        self.session.chat_settings.update(given)

    async def send_window_message(self, data: Any) -> None:
        """Send ``data`` to the window around the page."""
        await self.session.emit("window_message", data)

    async def send_toast(self, message: str, type: str | None = "info") -> None:  # noqa: A002  # Chainlit's name
        """Send an event ``toast``: a page gets it as ``chat-event``, and has to show it itself."""
        if type not in get_args(ToastType):
            raise ValueError(f"Invalid toast type: {type}")
        warn_once("emitter.send_toast() emits an event 'toast': draw it on your page.")
        await self.session.emit("toast", {"message": message, "type": type})

    async def send_resume_thread_error(self, error: str) -> None:
        """Tell the user what went wrong."""
        await ErrorMessage(error).send()

    resume_thread = _ignored("resume_thread")
    update_audio_connection = _ignored("update_audio_connection")
    send_audio_chunk = _ignored("send_audio_chunk")
    send_audio_interrupt = _ignored("send_audio_interrupt")
    send_timeout = _ignored("send_timeout")
    clear = _ignored("clear")
    flush_thread_queues = _ignored("flush_thread_queues")
    init_thread = _ignored("init_thread")
    update_token_count = _ignored("update_token_count")
    task_start = _ignored("task_start")
    task_end = _ignored("task_end")
    set_commands = _ignored("set_commands")
    set_modes = _ignored("set_modes")
    set_favorites = _ignored("set_favorites")


def _made(step_dict: Any) -> Message:
    """Return a new message from a dict."""
    given: Any = {"createdAt": None} | step_dict
    return Message.from_dict(given)


class ChainlitEmitter(BaseChainlitEmitter):
    """The emitter of a session of this server."""

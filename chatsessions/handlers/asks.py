"""What handlers ask the user: questions, and the chat settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from chatsessions.files.storage import ChatFile
from chatsessions.input_widget import InputWidget, Tab, check_inputs, widgets_of
from chatsessions.storage.conversation import TEXT, Format

from .bridge import also_sync
from .context import current, owner_loop
from .emitter import as_text, check_types
from .messages import DEFAULT_AUTHOR, USER_AUTHOR, Action, check_actions, default_format, format_of
from .sync import waits_in_sync

#: How many seconds a user has to answer, by default; the same as Chainlit's.
DEFAULT_TIMEOUT = 60


class _Question:
    """
    A question to the user; the handler waits for the answer.

    ``format`` says how ``content`` is to be read, ``text`` or ``markdown``; the default is the
    chat's format. ``timeout`` is in seconds, None for as long as the session lives. The question is
    in the log, so it is there after a reload and on another device, and the answer reaches the
    waiting handler. While the handler waits, actions and settings are still handled.
    """

    kind: str

    def __init__(
        self,
        content: object,
        *,
        format: Format | None = None,  # noqa: A002  # the wire's name
        author: str = DEFAULT_AUTHOR,
        timeout: float | None = DEFAULT_TIMEOUT,
        raise_on_timeout: bool = False,
    ) -> None:
        if timeout is not None and not (
            isinstance(timeout, int | float) and 0 < timeout < float("inf")
        ):
            raise ValueError(f"timeout is seconds above 0, or None; not {timeout!r}.")
        self.content = as_text(content)
        self.format = format_of(content, format)
        self.author = author
        check_types(self, {"author": (str, "a str")})
        self.timeout = timeout
        self.raise_on_timeout = raise_on_timeout

    async def _ask(self, **more: Any) -> Any:
        here = current(f"{type(self).__name__}.send")
        data = {"content": self.content, "author": self.author, **more}
        if (chosen := self.format or default_format(here)) != TEXT:
            data["format"] = chosen
        try:
            return await here.emitter.call(self.kind, data, timeout=self.timeout)
        except TimeoutError:
            if self.raise_on_timeout:
                raise
            return None


class AskUserMessage(_Question):
    """Asks for a text: ``await AskUserMessage("Your name?", timeout=60).send()``."""

    kind = "text"

    @waits_in_sync
    async def send(self) -> dict[str, Any] | None:
        """
        Ask, and return the answer as a dict with ``output``, the text; None when the time is up.

        With ``raise_on_timeout`` it raises ``TimeoutError`` instead. Raises what ``emitter.call``
        raises.
        """
        answer = await self._ask()
        if answer is None:
            return None
        return {
            "type": "user_message",
            "name": USER_AUTHOR,
            "output": answer["content"],
            "createdAt": datetime.now(UTC).isoformat(),
        }


class AskActionMessage(_Question):
    """Asks for a choice: ``await AskActionMessage("Go on?", actions=[Action("y"), …]).send()``."""

    kind = "action"

    def __init__(self, content: object, actions: Sequence[Action], **options: Any) -> None:
        super().__init__(content, **options)
        if not actions:
            raise ValueError("AskActionMessage needs at least one action to choose from.")
        self.actions = list(actions)
        check_actions(self.actions)

    @waits_in_sync
    async def send(self) -> dict[str, Any] | None:
        """
        Ask, and return the chosen action as a dict; None when the time is up.

        The dict has ``id``, ``name``, ``payload``, ``label`` and ``tooltip``. With
        ``raise_on_timeout`` it raises ``TimeoutError`` instead of returning None.
        """
        answer = await self._ask(actions=[action.as_event() for action in self.actions])
        if answer is None:
            return None
        return next(a.as_event() for a in self.actions if a.id == answer["id"])


class AskFileMessage(_Question):
    """
    Asks for files: ``await AskFileMessage("A table, please.", accept=["text/csv"]).send()``.

    ``accept`` is a list of types (such as ``image/*``) and extensions (``.csv``), or a dict of
    types with their extensions.
    """

    kind = "files"

    def __init__(
        self,
        content: object,
        accept: Sequence[str] | dict[str, Sequence[str]],
        *,
        max_files: int = 1,
        max_size_mb: float = 2,
        **options: Any,
    ) -> None:
        super().__init__(content, **options)
        if max_files < 1 or max_size_mb <= 0:
            raise ValueError("max_files is at least 1, and max_size_mb above 0.")
        try:
            # Not a str, which is a sequence as well.
            self.accept = msgspec.convert(accept, dict[str, list[str]] | list[str])
        except msgspec.ValidationError as error:
            raise TypeError(
                f"accept={accept!r:.80}: write a list of types and endings, such as ['text/csv', "
                f"'.csv'], or a dict of types with lists of endings. {error}"
            ) from error
        self.max_files = max_files
        self.max_size_mb = max_size_mb

    @waits_in_sync
    async def send(self) -> list[ChatFile] | None:
        """
        Ask, and return the files that the user gave, each once; None when the time is up.

        With ``raise_on_timeout`` it raises ``TimeoutError`` instead.
        """
        answer = await self._ask(
            accept=self.accept, max_files=self.max_files, max_size_mb=self.max_size_mb
        )
        if answer is None:
            return None
        files = await current("AskFileMessage.send").session.files()
        found = {file.id: file for file in files}
        wanted = dict.fromkeys(str(UUID(file)) for file in answer["files"])
        return [found[file] for file in wanted if file in found]


class ChatSettings:
    """
    Declares the session's settings: ``await ChatSettings([Slider(id="t", …), …]).send()``.

    The page shows a form with ``inputs``. The user's changes are checked against them, stored with
    the session and passed to ``on_settings_update``. Handlers read the settings as
    ``user_session.get("chat_settings")``. A ``Tab`` among the inputs groups some of them. Raises
    ``TypeError`` for inputs with attributes of a wrong type, ``ValueError`` for two with one id.
    """

    def __init__(self, inputs: Sequence[InputWidget | Tab]) -> None:
        self.inputs = list(inputs)
        check_inputs(self.inputs)
        ids = [widget.id for widget in widgets_of(self.inputs)]
        for double in {key for key in ids if ids.count(key) > 1}:
            raise ValueError(f"Two inputs have the id {double!r}.")

    @also_sync(owner_loop)
    async def send(self) -> dict[str, Any]:
        """
        Declare the inputs with their initial values, and return those values.

        They replace inputs that were declared before. Raises what ``context.emitter.emit`` raises.
        """
        initial = {widget.id: widget.initial for widget in widgets_of(self.inputs)}
        # Copies: all sessions may share the inputs, and their values may be changed inside.
        inputs = msgspec.to_builtins(self.inputs)
        values: dict[str, Any] = msgspec.to_builtins(initial)
        await current("ChatSettings.send").emitter.declare_settings(inputs, values)
        return values

"""``SettingsForm``: the chat settings that a session has declared, and their values."""

from __future__ import annotations

from typing import Any, Protocol

from chatsessions.input_widget import check_settings
from chatsessions.session import Session

from .draft import Draft
from .resumption import Resumption


class FormHost(Protocol):
    """What the form needs of its session."""

    session: Session
    draft: Draft

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None: ...


class SettingsForm:
    """The inputs that the client is shown, and what it may set by them."""

    __slots__ = ("_host", "_inputs")

    def __init__(self, host: FormHost, inputs: list[dict[str, Any]]) -> None:
        self._host = host
        self._inputs = inputs

    def check(self, data: dict[str, Any], *, n: int) -> None:
        """Raise ``FrameError`` for values that event ``n`` may not set."""
        check_settings(self._inputs, data, n=n)

    def declare(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], *, turn: int | None
    ) -> None:
        """The inputs from now on, and their values."""
        host = self._host
        host.say("settings_form", {"inputs": inputs}, turn=turn)
        host.say("settings", values, turn=turn)
        self._inputs = inputs
        host.session.chat_settings.clear()
        host.session.chat_settings.update(values)
        host.draft.set(inputs=inputs, chat_settings=dict(values))

    def update(self, n: int, data: dict[str, Any]) -> None:
        """What event ``n`` sets. Raises ``FrameError``."""
        self.check(data, n=n)  # they may be others than when it was accepted
        host = self._host
        changed = host.session.chat_settings | data
        host.say("settings", changed)
        host.session.chat_settings.update(data)
        host.draft.set(chat_settings=changed)

    def tell(self, past: Resumption) -> None:
        """The client of a new session on an old thread knows nothing of what was declared there."""
        if past.inputs:
            self._host.say("settings_form", {"inputs": past.inputs})
        if past.inputs or past.chat_settings:
            self._host.say("settings", past.chat_settings)

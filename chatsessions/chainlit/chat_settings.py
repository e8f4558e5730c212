"""``ChatSettings``: a form for the settings of the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

import chatsessions
from chatsessions.input_widget import widgets_of

from .input_widget import InputWidget, Tab
from .session import current_session, here, rebuilding


class ChatSettings:
    """The inputs of a session's settings, or tabs with inputs."""

    def __init__(self, inputs: Sequence[InputWidget | Tab]) -> None:
        self.inputs = list(inputs)
        self._form()  # raises if two inputs have the same id

    def settings(self) -> dict[str, Any]:
        """Return the initial values."""
        return {widget.id: widget.initial for widget in widgets_of(self._form().inputs)}

    async def send(self) -> dict[str, Any]:
        """Show the form with its initial values, which become the session's, and return them."""
        session = current_session()
        if rebuilding.get():
            return {**self.settings(), **session.chat_settings}
        return await self._form().send()

    async def refresh(self) -> dict[str, Any]:
        """Show the form without changing the session's settings; return the initial values."""
        session = current_session()
        if not rebuilding.get():
            values = self.settings()
            kept = {key: value for key, value in session.chat_settings.items() if key in values}
            inputs = msgspec.to_builtins(self._form().inputs)
            await here().emitter.declare_settings(inputs, values | kept)
        return self.settings()

    def _form(self) -> chatsessions.ChatSettings:
        return chatsessions.ChatSettings([widget.as_core() for widget in self.inputs])

"""``Action``: a button of a message, and what the client may choose."""

from __future__ import annotations

from typing import Any, Self
from uuid import uuid4

from chatsessions.storage.storable import serializable

from .bridge import also_sync
from .context import (
    current,
    owner_loop,
)


@serializable(name="chatsessions.Action")
class Action:
    """
    Something that the user may choose: a button under a message.

    ``name`` says which ``on_action`` handler runs, ``payload`` is JSON for it (a dict), which
    the client sees and cannot change. ``icon`` is a word or a sign for the page to show.
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
        self.id = id or str(uuid4())
        self.name = name
        self.payload = payload or {}
        self.label = label
        self.tooltip = tooltip
        self.icon = icon
        #: The id of the message that it was sent with.
        self.message_id: str | None = None

    @classmethod
    def offered(cls, data: dict[str, Any]) -> Self:
        """An action as it was stored when it was offered."""
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
        """The action as it goes over the wire."""
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
        Take the button away: it is not offered any more, and gone from its message.

        One that is gone already is no error. Raises what ``context.emitter.emit`` raises.
        """
        await current("Action.remove").emitter.withdraw(self.id)

    @property
    def forId(self) -> str | None:  # noqa: N802  # Chainlit's name
        """The id of the message that it was sent with."""
        return self.message_id

    def to_storable(self) -> dict[str, Any]:
        """What ``user_session`` stores of an action."""
        return self.as_event() | {"label": self.label, "message": self.message_id}

    @classmethod
    def from_storable(cls, data: dict[str, Any]) -> Self:
        """The action that was stored as ``data``."""
        return cls.offered(data)

    def __repr__(self) -> str:
        return f"<Action {self.name} {self.id}>"

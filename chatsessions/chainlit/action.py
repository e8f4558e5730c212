"""``Action``: a button under a message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import chatsessions

from .session import current_session, here, rebuilding
from .types import DictMixin


@dataclass
class Action(DictMixin):
    """A button under a message; ``name`` says which ``action_callback`` runs."""

    name: str
    payload: dict[str, Any]
    label: str = ""
    tooltip: str = ""
    icon: str | None = None
    #: The id of the message that has the button.
    forId: str | None = None  # noqa: N815  # Chainlit's name
    id: str = field(default_factory=lambda: str(uuid4()))

    def __post_init__(self) -> None:
        self.as_offered()  # raises for a name or a payload that cannot be offered

    def as_offered(self) -> chatsessions.Action:
        """Return the action as the core offers it."""
        return chatsessions.Action.offered(vars(self) | {"message": self.forId})

    @classmethod
    def of(cls, action: chatsessions.Action) -> Action:
        """Return an action of the core."""
        return cls(
            name=action.name,
            payload=action.payload,
            label=action.label,
            tooltip=action.tooltip,
            icon=action.icon,
            forId=action.message_id,
            id=action.id,
        )

    async def send(self, for_id: str) -> None:
        """
        Put the button under a recently sent message.

        Raises ``ValueError`` if no such message has the id ``for_id``.
        """
        session = current_session()
        if rebuilding.get():
            self.forId = for_id
            return
        message = session.sent.get(for_id)
        if message is None:
            raise ValueError(f"There is no message {for_id!r}: send the action with a message.")
        self.forId = None  # so that the core shows a removed button again
        message.actions = [action for action in message.actions if action.id != self.id] + [self]
        await message.update()

    async def remove(self) -> None:
        """Take the button off its message; it is no error if the button is gone."""
        await here().emitter.withdraw(self.id)
        message = current_session().sent.get(self.forId or "")
        if message is not None:
            message.actions = [action for action in message.actions if action.id != self.id]


chatsessions.serializable(name="chatsessions.chainlit.Action")(Action)

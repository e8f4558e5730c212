"""``Offers``: the actions that a session's client may choose, and nobody else's."""

from __future__ import annotations

from typing import Any

import msgspec

from chatsessions.conf import settings
from chatsessions.exceptions import FrameError

from .draft import Draft


class Offers:
    """
    What is offered, by action's id; kept in the row, so that a button outlives the server.

    The latest ``MAX_ACTIONS``: a conversation that goes on for long does not grow its row.
    """

    def __init__(self, draft: Draft, stored: dict[str, dict[str, Any]]) -> None:
        self._draft = draft
        self._offered = stored

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        """``actions`` are what message ``message`` offers now, instead of what it did."""
        kept = {key: offer for key, offer in self._offered.items() if offer["message"] != message}
        if not actions and len(kept) == len(self._offered):
            return
        kept |= {action["id"]: {**action, "message": message} for action in actions}
        self._offered = dict(list(kept.items())[-settings.MAX_ACTIONS :])
        self._draft.set(actions=self._offered)

    def withdraw(self, action: str) -> str | None:
        """Offer ``action`` no more; the id of its message, None if it was not offered."""
        if action not in self._offered:
            return None
        offer = self._offered[action]
        self._offered = {key: kept for key, kept in self._offered.items() if key != action}
        self._draft.set(actions=self._offered)
        message: str = offer["message"]
        return message

    def of(self, message: str) -> list[dict[str, Any]]:
        """What ``message`` still offers, as the wire knows it."""
        return [
            {key: value for key, value in offer.items() if key != "message"}
            for offer in self._offered.values()
            if offer["message"] == message
        ]

    def chosen(self, data: dict[str, Any], *, n: int) -> bytes:
        """
        The action as it was offered, whatever the client makes of it.

        Raises ``FrameError`` ``forbidden`` for one that is not.
        """
        offer = self._offered.get(data["id"])
        if offer is None or offer["name"] != data["name"]:
            raise FrameError("forbidden", "this action is not offered (any more)", n=n)
        return msgspec.json.encode(offer)

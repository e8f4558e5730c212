"""``Unread``: what of the log a test has not received yet."""

from __future__ import annotations

from .conversation import ChatEvent, ChatMessage, Conversation


class Unread:
    """
    The server's entries of a conversation, each of which is received once.

    Each name has a place of its own in the log: entries of other names are passed over, and can
    still be received.
    """

    def __init__(self, told: Conversation) -> None:
        self._told = told
        #: By name: the ``seq`` of the last entry received.
        self._places: dict[str, int] = {}

    def peek(self, name: str | None = None) -> ChatEvent | None:
        """The next entry ``name``, or of any name if that is None; None if there is none yet."""
        for event in self._told.events:
            if event.n is None and name in (None, event.name) and self._is_unread(event):
                return event
        return None

    def take(self, name: str | None = None) -> ChatEvent | None:
        """:meth:`peek`, and count it as received."""
        event = self.peek(name)
        if event is not None:
            self._receive(event)
        return event

    def take_message(self) -> ChatMessage | None:
        """
        The next message, and count it as received; None until it is there and whole.

        The entry that made a streamed one whole is received with it.
        """
        opening = self.peek("message")
        found = None if opening is None else self._told.whole(opening)
        if opening is None or found is None:
            return None
        message, closing = found
        self._receive(opening)
        self._receive(closing)
        return message

    def forget(self) -> None:
        """Another session has another log."""
        self._places.clear()

    def _is_unread(self, event: ChatEvent) -> bool:
        return event.seq > self._places.get(event.name, 0)

    def _receive(self, event: ChatEvent) -> None:
        if self._is_unread(event):
            self._places[event.name] = event.seq

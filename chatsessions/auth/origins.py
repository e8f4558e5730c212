"""The origins of other sites whose pages may use chats of this site."""

from __future__ import annotations

from chatsessions.conf import settings

#: The most characters of an ``Origin`` in the log, as clients can send any text.
MAX_SHOWN = 200


def is_allowed(origin: str) -> bool:
    """Return True if ``ALLOWED_ORIGINS`` has ``origin``, written as a browser writes it."""
    return origin in settings.ALLOWED_ORIGINS

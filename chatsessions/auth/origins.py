"""The origins of other sites whose pages may have chats of this one."""

from __future__ import annotations

from chatsessions.conf import settings

#: The most characters that the log shows of an ``Origin``: whoever connects has written it.
MAX_SHOWN = 200


def is_allowed(origin: str) -> bool:
    """Return whether ``ALLOWED_ORIGINS`` has ``origin``, as a browser writes it."""
    return origin in settings.ALLOWED_ORIGINS

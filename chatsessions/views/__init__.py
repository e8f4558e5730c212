"""Views: ``ChatPage``, a page with a chat, and ``ChatView``, a chat without a websocket."""

from .http import ChatView
from .page import ChatPage

__all__ = ["ChatPage", "ChatView"]

"""Views: ``ChatPage``, a page with a chat, and ``ChatView``, a chat without a websocket."""

from chatsessions.http.pages import ChatPage
from chatsessions.http.view import ChatView

__all__ = ["ChatPage", "ChatView"]

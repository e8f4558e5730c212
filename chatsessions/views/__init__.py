"""The views of ``chatsessions.urls``."""

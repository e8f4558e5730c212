"""``chatsessions.chainlit``: bots as users of Chainlit write them, by ``chatsessions run``."""

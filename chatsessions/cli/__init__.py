"""The command ``chatsessions``: serve a bot without a project, and make a project from it."""


class CommandFailed(Exception):
    """The command cannot do what was asked. The text says why, and what to do."""

"""The command ``chatsessions``: serve a bot without a project, and make a project from it."""


class CommandFailed(Exception):
    """A command failed. The text says why, and what to do."""

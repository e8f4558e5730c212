"""The error that ends a command."""


class CommandFailed(Exception):
    """The command cannot do what it was asked; the text says why, and what to do."""

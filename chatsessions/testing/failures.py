"""What a test fails with."""

from __future__ import annotations

from collections.abc import Sequence

from chatsessions.exceptions import ChatSessionsError

from .conversation import ErrorReport


class ChatAssertionError(ChatSessionsError, AssertionError):
    """
    The conversation did not go as the test says.

    An ``AssertionError``, so that test runners count a failure and not an error. Its text shows
    what was received until then, the errors, and what the server logged; ``errors`` are those
    that the client was told.
    """

    def __init__(self, what: str, story: str, *, errors: Sequence[ErrorReport] = ()) -> None:
        self.what = what
        self.errors = tuple(errors)
        super().__init__(f"{what}\n{story}" if story else what)


class ChatRefused(ChatAssertionError):
    """
    The server closed a connection instead of welcoming it.

    ``code`` is the websocket's close code; None where the handshake itself was refused, which is
    what an origin validator does.
    """

    def __init__(
        self, what: str, story: str, *, code: int | None, errors: Sequence[ErrorReport] = ()
    ) -> None:
        self.code = code
        super().__init__(what, story, errors=errors)

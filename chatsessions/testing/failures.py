"""The errors of ``ChatCommunicator``, and what they show: the conversation and the server's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from chatsessions.exceptions import ChatSessionsError
from chatsessions.handlers.messages import USER_AUTHOR

from .conversation import ChatEvent, Conversation, ErrorReport

#: How many entries of a log are shown: the last ones.
SHOWN = 30
#: How many characters of an entry's data are shown.
WIDTH = 120

_formatter = logging.Formatter("%(levelname)s %(name)s: %(message)s")


class ChatAssertionError(ChatSessionsError, AssertionError):
    """
    The conversation was not as the test expects.

    An ``AssertionError``, so that test runners count a failure and not an error. Its text shows
    what was received until then, the errors, and what the server logged; ``errors`` are those
    that the server sent to the client.
    """

    def __init__(self, what: str, report: str, *, errors: Sequence[ErrorReport] = ()) -> None:
        self.what = what
        self.errors = tuple(errors)
        super().__init__(f"{what}\n{report}" if report else what)


class ChatRefused(ChatAssertionError):
    """
    The server closed a connection instead of welcoming it.

    ``code`` is the websocket's close code; None if the handshake was refused, as by an origin
    validator.
    """

    def __init__(
        self, what: str, report: str, *, code: int | None, errors: Sequence[ErrorReport] = ()
    ) -> None:
        self.code = code
        super().__init__(what, report, errors=errors)


def report(conversation: Conversation, records: Sequence[logging.LogRecord]) -> str:
    """Return what a client received and what the server logged, a line for each."""
    return "\n".join(_lines(conversation, records))


def _lines(conversation: Conversation, records: Sequence[logging.LogRecord]) -> Iterator[str]:
    welcome, events = conversation._welcome, conversation.events
    if welcome is None:
        yield "There was no welcome."
    else:
        yield f"Session {welcome.session}, received so far:"
        hidden = len(events) - SHOWN
        if hidden > 0:
            yield f"  … {hidden} entries before"
        yield from (f"  {_entry(event)}" for event in events[-SHOWN:])
        if not events:
            yield "  nothing"
    for message in conversation.messages:
        if message.streaming:
            yield f"Still streaming: {_short(repr(message.content))}"
    for n, sent in conversation._delivery.unaccepted:
        yield f"Not accepted yet: {sent.name!r} (n={n})"
    if conversation._turns:
        turns = ", ".join(f"{n} {status}" for n, status in sorted(conversation._turns.items()))
        yield f"Turns: {turns}"
    for error in conversation.errors:
        of = "" if error.n is None else f" (event {error.n})"
        yield f"Error {error.code}{of}: {error.detail}"
    if conversation.ended is not None:
        yield f"The session has ended: {conversation.ended}"
    if records:
        yield "The server logged:"
        yield from (f"  {line}" for one in records for line in _formatter.format(one).splitlines())


def _entry(event: ChatEvent) -> str:
    if event.name == "message" and isinstance(event.data, dict):
        what = f"{event.data.get('author', USER_AUTHOR)}: {event.data.get('content')!r}"
    else:
        what = msgspec.json.encode(event.data).decode()
    own = "" if event.n is None else f" (sent, n={event.n})"
    return f"{event.seq:>4} {event.name}{own}  {_short(what)}"


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


@contextmanager
def server_log() -> Iterator[list[logging.LogRecord]]:
    """Collect what ``chatsessions`` logs during the block, at level WARNING and above."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[assignment, method-assign]
    logger = logging.getLogger("chatsessions")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)

"""What a failing test shows: what the client was told until then, and what the server logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from .conversation import ChatEvent, Conversation, message_of

#: Entries shown of a long log: the last ones tell most.
SHOWN = 30
#: The longest line shown of an entry's data.
WIDTH = 120

_formatter = logging.Formatter("%(levelname)s %(name)s: %(message)s")


def tell(told: Conversation, records: Sequence[logging.LogRecord]) -> str:
    """The whole story, a line for each thing that happened."""
    return "\n".join(_lines(told, records))


def _lines(told: Conversation, records: Sequence[logging.LogRecord]) -> Iterator[str]:
    welcome = told.welcome
    if welcome is None:
        yield "There was no welcome."
    else:
        yield f"Session {welcome.session}, received so far:"
        hidden = len(told.events) - SHOWN
        if hidden > 0:
            yield f"  … {hidden} entries before"
        yield from (f"  {_entry(event)}" for event in told.events[-SHOWN:])
        if not told.events:
            yield "  nothing"
    for message in told.messages:
        if message.streaming:
            yield f"Still streaming: {_short(repr(message.content))}"
    for n, sent in told.delivery.unaccepted:
        yield f"Not accepted yet: {sent.name!r} (n={n})"
    if told.turns:
        turns = ", ".join(f"{n} {status}" for n, status in sorted(told.turns.items()))
        yield f"Turns: {turns}"
    for error in told.errors:
        of = "" if error.n is None else f" (event {error.n})"
        yield f"Error {error.code}{of}: {error.detail}"
    if told.ended is not None:
        yield f"The session has ended: {told.ended}"
    if records:
        yield "The server logged:"
        yield from (f"  {line}" for one in records for line in _formatter.format(one).splitlines())


def _entry(event: ChatEvent) -> str:
    if event.name == "message":
        message = message_of(event)
        what = f"{message.author}: {message.content!r}"
    else:
        what = msgspec.json.encode(event.data).decode()
    own = "" if event.n is None else f" (sent, n={event.n})"
    return f"{event.seq:>4} {event.name}{own}  {_short(what)}"


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


@contextmanager
def server_log() -> Iterator[list[logging.LogRecord]]:
    """What ``chatsessions`` logs during the block, from warnings up."""
    records: list[logging.LogRecord] = []
    handler = _Records(records)
    logger = logging.getLogger("chatsessions")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


class _Records(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

"""A log as a conversation: forwards and backwards come to the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chatsessions.storage.conversation import ConversationMessage, ConversationReducer
from chatsessions.storage.log import Entry
from chatsessions.storage.thread_rows import Mark, ThreadPart, last_messages

SESSION = UUID("11111111-1111-4111-8111-111111111111")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 10**6


def log(*events: tuple[str, Any, bool]) -> list[Entry]:
    """Entries of ``(name, data, is it the client's)``."""
    return [
        Entry(seq, seq if client else None, None, name, msgspec.json.encode(data), NOW)
        for seq, (name, data, client) in enumerate(events, 1)
    ]


def forwards(
    entries: list[Entry], *, limit: int | None = None, max_bytes: int | None = None
) -> list[ConversationMessage]:
    reducer = ConversationReducer(SESSION, max_messages=limit, max_bytes=max_bytes)
    for entry in entries:
        reducer.take(entry)
    return reducer.messages


def backwards(
    entries: list[Entry], *, limit: int = MANY, max_bytes: int = MANY, chunk: int = 50
) -> list[ConversationMessage]:
    return last_messages(
        [(ThreadPart(session=SESSION), chunks(entries, chunk))], limit=limit, max_bytes=max_bytes
    )[0]


def chunks(entries: list[Entry], size: int) -> Iterator[list[Entry]]:
    """Yield a log from its end, as the database does."""
    last_first = entries[::-1]
    for start in range(0, len(last_first), size):
        yield last_first[start : start + size]


def texts(messages: list[ConversationMessage]) -> list[tuple[str, str]]:
    return [(one.type.removesuffix("_message"), one.content) for one in messages]


WHAT = ["send", "update", "remove", "user", "update own", "remove own", "odd", "forged"]
IDS = st.sampled_from(["a", "b", "c"])


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """What an application may do: messages are changed and removed while they are there."""
    events: list[tuple[str, Any, bool]] = []
    there: set[str] = set()
    own: set[int] = set()
    for number in range(draw(st.integers(0, 30))):
        id_, text = draw(IDS), str(number)
        message = {"id": id_, "author": "Bot", "content": text, "created_at": NOW}
        what = draw(st.sampled_from(WHAT))
        if what == "send" and id_ not in there:
            there.add(id_)
            events.append(("message", message, False))
        elif what == "update" and id_ in there:
            events.append(("message_update", message, False))
        elif what == "remove" and id_ in there:
            there.discard(id_)
            events.append(("message_remove", {"id": id_}, False))
        elif what == "user":
            own.add(len(events) + 1)
            client = draw(st.sampled_from([{}, {"id": id_}]))
            events.append(("message", {"content": text} | client, True))
        elif what == "update own" and own:
            n = draw(st.sampled_from(sorted(own)))
            user = {"n": n, "type": "user_message"}
            events.append(("message_update", message | user, False))
        elif what == "remove own" and own:
            n = draw(st.sampled_from(sorted(own)))
            own.discard(n)
            events.append(("message_remove", {"id": id_, "n": n}, False))
        elif what == "odd":
            odd = draw(
                st.sampled_from([None, [], {}, {"content": 1}, {"content": "x", "type": "y"}])
            )
            events.append((draw(st.sampled_from(["message", "ask", "ask_closed"])), odd, False))
        elif what == "forged":
            name = draw(st.sampled_from(["message_update", "message_remove", "ask", "ask_closed"]))
            events.append((name, message | {"call": id_, "outcome": "answered"}, True))
    return log(*events)


@given(logs(), st.integers(1, 5))
def test_both_ways_come_to_the_same(entries: list[Entry], chunk: int) -> None:
    assert texts(backwards(entries, chunk=chunk)) == texts(forwards(entries))


@given(logs(), st.integers(1, 5), st.integers(1, 5))
def test_from_the_end_one_finds_the_end(entries: list[Entry], limit: int, chunk: int) -> None:
    found = backwards(entries, limit=limit, chunk=chunk)
    assert texts(found) == texts(forwards(entries))[-limit:]


@given(logs(), st.integers(1, 5), st.integers(1, 400), st.integers(1, 5))
def test_it_is_never_more_than_allowed(
    entries: list[Entry], limit: int, max_bytes: int, chunk: int
) -> None:
    for found in (
        forwards(entries, limit=limit, max_bytes=max_bytes),
        backwards(entries, limit=limit, max_bytes=max_bytes, chunk=chunk),
    ):
        assert len(found) <= limit
        assert len(found) <= 1 or sum(message.size for message in found) <= max_bytes


@given(logs(), st.integers(1, 3), st.integers(1, 5))
def test_pages_one_behind_the_other_are_the_whole(
    entries: list[Entry], limit: int, chunk: int
) -> None:
    pages: list[ConversationMessage] = []
    before, more = None, True
    while more:
        page, more = last_messages(
            [(ThreadPart(session=SESSION), chunks(entries, chunk))],
            limit=limit,
            max_bytes=MANY,
            before=before,
        )
        pages = page + pages
        before = (SESSION, pages[0].seq) if pages else None
        more = more and bool(page)
    assert texts(pages) == texts(forwards(entries))


def test_no_more_is_read_than_is_wanted() -> None:
    entries = log(*((("message", {"id": str(n), "content": "x"}, False)) for n in range(100)))
    taken = []

    def reading() -> Iterator[list[Entry]]:
        for chunk in chunks(entries, 10):
            taken.append(len(chunk))
            yield chunk

    _, full = last_messages([(ThreadPart(session=SESSION), reading())], limit=25, max_bytes=MANY)
    assert full
    assert sum(taken) == 30


def test_what_was_added_stands_where_it_was_added() -> None:
    entries = log(*((("message", {"id": str(n), "content": str(n)}, False)) for n in range(1, 8)))

    def added(text: str) -> ConversationMessage:
        return ConversationMessage(
            id=text, type="system_message", content=text, created_at=NOW, size=1
        )

    mark = Mark(added=[(0, added("first")), (2, added("after 2")), (7, added("last"))])
    part = ThreadPart(session=SESSION, mark=mark)

    def read(limit: int) -> list[str]:
        found, _ = last_messages([(part, chunks(entries, 2))], limit=limit, max_bytes=MANY)
        return [message.content for message in found]

    assert read(MANY) == ["first", "1", "2", "after 2", "3", "4", "5", "6", "7", "last"]
    for limit in range(1, 10):
        assert read(limit) == read(MANY)[-limit:]


def test_questions_and_the_answers_that_counted_belong_to_it() -> None:
    def ask(call: str, text: str) -> tuple[str, Any, bool]:
        return "ask", {"call": call, "kind": "text", "content": text, "author": "Bot"}, False

    def answer(call: str, data: Any) -> tuple[str, Any, bool]:
        return "answer", {"call": call, "data": data}, True

    def closed(call: str, outcome: str) -> tuple[str, Any, bool]:
        return "ask_closed", {"call": call, "outcome": outcome}, False

    entries = log(
        ask("1", "Your name?"),
        answer("nobody's", {"content": "not asked"}),
        answer("1", {"content": "Ada"}),
        closed("1", "answered"),
        answer("1", {"content": "late"}),
        ask("2", "Still there?"),
        closed("2", "timeout"),
        answer("2", {"content": "too late"}),
        ask("3", "Sure?"),
        answer("3", {"id": "yes"}),
        closed("3", "answered"),
        ("answer", {"call": "3", "data": {"content": "the application's own"}}, False),
    )
    expected = [
        ("assistant", "Your name?"),
        ("user", "Ada"),
        ("assistant", "Still there?"),
        ("assistant", "Sure?"),
    ]
    assert texts(forwards(entries)) == expected
    assert texts(backwards(entries)) == expected
    assert [one.id for one in forwards(entries)] == [one.id for one in backwards(entries)]


def test_an_answer_stands_where_it_was_given() -> None:
    entries = log(
        ("ask", {"call": "1", "kind": "text", "content": "Your name?"}, False),
        ("answer", {"call": "1", "data": {"content": "Ada"}}, True),
        ("message", {"id": "a", "content": "meanwhile"}, False),
        ("ask_closed", {"call": "1", "outcome": "answered"}, False),
    )
    expected = [("assistant", "Your name?"), ("user", "Ada"), ("assistant", "meanwhile")]
    assert texts(forwards(entries)) == expected
    for chunk in (1, 2, 4):
        assert texts(backwards(entries, chunk=chunk)) == expected
        assert texts(backwards(entries, chunk=chunk, limit=2)) == expected[1:]


def test_answers_to_nothing_do_not_pile_up() -> None:
    reducer = ConversationReducer(SESSION, max_messages=1, max_bytes=1)
    answers = (("answer", {"call": str(n), "data": {"content": "x"}}, True) for n in range(500))
    for entry in log(*answers):
        reducer.take(entry)
    assert len(reducer.questions) <= 100

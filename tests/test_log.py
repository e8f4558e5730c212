"""A log as a conversation: forwards and backwards come to the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsessions.storage.log import MAX_TOPIC, Backwards, Entry, Recent, Said, topic_of

SESSION = UUID("11111111-1111-4111-8111-111111111111")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 10**6


def log(*events: tuple[str, Any, bool]) -> list[Entry]:
    """Entries of ``(name, data, is it the client's)``."""
    return [
        Entry(seq, seq if client else None, None, name, msgspec.json.encode(data), NOW)
        for seq, (name, data, client) in enumerate(events, 1)
    ]


def forwards(entries: list[Entry], *, limit: int = MANY, max_bytes: int = MANY) -> list[Said]:
    recent = Recent(SESSION, max_messages=limit, max_bytes=max_bytes)
    for entry in entries:
        recent.take(entry)
    return list(recent)


def backwards(entries: list[Entry], *, limit: int = MANY, max_bytes: int = MANY) -> list[Said]:
    back = Backwards(limit=limit, max_bytes=max_bytes)
    back.begin([])
    for entry in reversed(entries):
        if back.full:
            break
        back.take(entry, SESSION)
    return back.messages


def texts(said: list[Said]) -> list[tuple[str, str]]:
    return [(one.type.removesuffix("_message"), one.content) for one in said]


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


@given(logs())
def test_both_ways_come_to_the_same(entries: list[Entry]) -> None:
    assert texts(backwards(entries)) == texts(forwards(entries))


@given(logs(), st.integers(1, 5))
def test_from_the_end_one_finds_the_end(entries: list[Entry], limit: int) -> None:
    assert texts(backwards(entries, limit=limit)) == texts(forwards(entries))[-limit:]


@given(logs(), st.integers(1, 5), st.integers(1, 400))
def test_it_is_never_more_than_allowed(entries: list[Entry], limit: int, max_bytes: int) -> None:
    for found in (
        forwards(entries, limit=limit, max_bytes=max_bytes),
        backwards(entries, limit=limit, max_bytes=max_bytes),
    ):
        assert len(found) <= limit
        assert len(found) <= 1 or sum(said.size for said in found) <= max_bytes


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
    assert [said.id for said in forwards(entries)] == [said.id for said in backwards(entries)]


def test_answers_to_nothing_do_not_pile_up() -> None:
    recent = Recent(SESSION, max_messages=1, max_bytes=1)
    answers = (("answer", {"call": str(n), "data": {"content": "x"}}, True) for n in range(500))
    for entry in log(*answers):
        recent.take(entry)
    assert len(recent._answers) <= 16


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("", ""),
        (" \n\t", ""),
        ("one\ntwo\x00\x1b[0m", "one two[0m"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 99 + "…"),
        ("half \ud800 a pair", "half ? a pair"),
    ],
)
def test_a_topic_is_one_line(text: str, topic: str) -> None:
    assert topic_of(text) == topic


@given(st.text())
def test_a_topic_fits_and_can_be_stored(text: str) -> None:
    topic = topic_of(text)
    assert len(topic) <= MAX_TOPIC
    assert "\0" not in topic
    topic.encode()

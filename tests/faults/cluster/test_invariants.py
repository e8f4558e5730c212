"""The checker itself: it is content with a good story, and finds each way to break one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chatsessions.testing.client import Recorded
from tests.server.harness import Row

from .books import Stored, Write
from .invariants import one_line_each, violations
from .tab import Line

SESSION = "0b7b1c2e-0000-4000-8000-000000000001"

WELCOME = {"type": "welcome", "session": SESSION, "resumed": False, "received": 0, "first": 1}


def told(*frames: dict[str, Any], line: int = 1, sent: bool = False) -> list[Recorded]:
    return [Recorded(0.0, line, sent, frame) for frame in frames]


def event(seq: int, name: str, data: Any, **keys: Any) -> dict[str, Any]:
    return {"type": "event", "seq": seq, "name": name, "data": data, **keys}


def turn(number: int, status: str) -> dict[str, Any]:
    return {"type": "turn", "turn": number, "name": "message", "status": status}


HELLO = {"content": "hello"}
READY = {"content": "ready"}

#: Two messages, the second of which was cut short by a move of the session.
RECORD = [
    *told({"type": "hello"}, sent=True),
    *told(WELCOME, turn(0, "running"), event(1, "message", READY, turn=0), turn(0, "done")),
    *told({"type": "event", "n": 1, "name": "message", "data": HELLO}, sent=True),
    *told({"type": "accepted", "n": 1, "seq": 2}, turn(1, "running")),
    *told(event(3, "counted", {"n": 1, "count": 1}, turn=1), turn(1, "done")),
    *told({"type": "event", "n": 2, "name": "message", "data": HELLO}, sent=True),
    *told({"type": "accepted", "n": 2, "seq": 4}, turn(2, "running")),
    *told({"type": "hello", "session": SESSION, "received": 3}, sent=True, line=2),
    *told(WELCOME | {"resumed": True, "received": 2}, line=2),
    *told(event(4, "message", HELLO, n=2), turn(2, "interrupted"), line=2),
    *told(event(5, "error", {"code": "interrupted"}, turn=2), line=2),
    # The same answer again.
    *told({"type": "event", "n": 2, "name": "message", "data": HELLO}, sent=True, line=2),
    *told({"type": "accepted", "n": 2, "seq": 4}, line=2),
]

STORED = Stored(
    row={"running": None, "accepted": 2, "handled": 2, "head": 5, "generation": 2},
    log=[
        Row(1, None, 0, "message", READY),
        Row(2, 1, None, "message", HELLO),
        Row(3, None, 1, "counted", {"n": 1, "count": 1}),
        Row(4, 2, None, "message", HELLO, "interrupted"),
        Row(5, None, 2, "error", {"code": "interrupted"}),
    ],
    state={"count": 1, "counted": 1},
    effects=[(0, "start"), (1, "handled"), (2, "handled"), (2, "interrupted")],
    writes=[
        Write("insert", "a", 1, None, 100),
        Write("write", "a", 1, None, 101, 3, 1, 1),
        Write("entry", "a", None, 1, 101),
        Write("touch", "b", 1, None, 102),
        Write("claim", "b", 2, None, 103, 5, 2, 2),
        Write("entry", "b", None, 5, 103),
    ],
)


def test_a_good_story_is_in_order() -> None:
    assert violations(RECORD, STORED) == []


Break = Callable[[list[Recorded], Stored], object]


def without(place: int) -> Break:
    return lambda record, _: record.pop(place)


def instead(place: int, frame: dict[str, Any]) -> Break:
    def change(record: list[Recorded], _: Stored) -> None:
        record[place] = replace(record[place], frame=frame)

    return change


def then(*frames: dict[str, Any]) -> Break:
    return lambda record, _: record.extend(told(*frames, line=2))


def entry(place: int, **changes: Any) -> Break:
    def change(_: list[Recorded], stored: Stored) -> None:
        stored.log[place] = replace(stored.log[place], **changes)

    return change


BROKEN: dict[str, tuple[int, str, Break]] = {
    "an accepted event that is not stored": (
        1,
        "loss",
        then({"type": "accepted", "n": 3, "seq": 6}),
    ),
    "an event that is stored twice": (
        1,
        "repeat",
        lambda _, stored: stored.log.append(Row(6, 2, None, "message", HELLO)),
    ),
    "an event that was received and is not stored": (
        1,
        "loss",
        instead(14, WELCOME | {"resumed": True, "received": 3}),
    ),
    "a number left out": (1, "hole", entry(3, n=3)),
    "a turn that runs still": (2, "unfinished", lambda _, stored: stored.row.update(running=2)),
    "an event without an end": (2, "loss", lambda _, stored: stored.row.update(handled=1)),
    "an effect that happened twice": (
        2,
        "repeat",
        lambda _, stored: stored.effects.append((1, "handled")),
    ),
    "an event that is done without its effect": (
        2,
        "loss",
        lambda _, stored: stored.effects.remove((1, "handled")),
    ),
    "a hook that told of an interruption which was none": (
        2,
        "outcome",
        lambda _, stored: stored.effects.append((1, "interrupted")),
    ),
    "a turn with two outcomes": (2, "repeat", then(turn(1, "done"))),
    "a turn that runs after its outcome": (2, "repeat", then(turn(1, "running"))),
    "an outcome that is not the stored one": (2, "outcome", entry(1, status="failed")),
    "a hole": (3, "hole", without(6)),
    "a hole between connections": (3, "hole", without(15)),
    "a hole at the end": (3, "hole", without(17)),
    "an entry that comes twice": (3, "repeat", then(event(5, "error", {"code": "interrupted"}))),
    "an entry out of order": (3, "hole", then(event(7, "x", 1), event(6, "x", 2))),
    "an entry before the welcome": (3, "order", without(1)),
    "a seen entry that is not stored": (4, "loss", lambda _, stored: stored.log.pop()),
    "a seen entry that is stored as another": (4, "loss", entry(2, data={"n": 1, "count": 7})),
    "a sent event that is stored as another": (4, "loss", entry(3, data={"content": "hallo"})),
    "a session that was not resumed": (
        4,
        "loss",
        instead(14, WELCOME | {"session": "another", "resumed": False}),
    ),
    "a count that is not the log's": (4, "count", lambda _, stored: stored.state.update(count=2)),
    "a message that was not counted": (4, "loss", entry(3, status=None)),
    "a generation with two writers": (
        5,
        "writer",
        lambda _, stored: stored.writes.append(Write("write", "a", 2, None, 104)),
    ),
    "a write after its generation's end": (
        5,
        "writer",
        lambda _, stored: stored.writes.append(Write("write", "a", 1, None, 104)),
    ),
    "a row that is set back": (
        5,
        "loss",
        lambda _, stored: stored.writes.append(Write("write", "b", 2, None, 104, 5, 2, 1)),
    ),
    "an entry without a claim": (
        5,
        "writer",
        lambda _, stored: stored.writes.append(Write("entry", "a", None, 6, 104)),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_it_finds(what: str) -> None:
    invariant, kind, break_it = BROKEN[what]
    record, stored = list(RECORD), copy.deepcopy(STORED)
    break_it(record, stored)
    found = {(violation.invariant, violation.kind) for violation in violations(record, stored)}
    assert (invariant, kind) in found


def line(number: int, welcomed: float, closed: float | None, code: int | None = None) -> Line:
    return Line(number, "a", welcomed, welcomed, closed, code)


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        ([line(1, 0, 5), line(2, 6, 9)], 0),
        ([line(1, 0, 5.4, 4509), line(2, 5, None)], 0),
        ([line(1, 0, 17, 4509), line(2, 5, None)], 1),
        ([line(1, 0, None), line(2, 5, None)], 1),
        ([line(1, 0, 5.4, 4000), line(2, 5, None)], 1),
    ],
)
def test_it_finds_two_lines_at_a_time(lines: list[Line], problems: int) -> None:
    assert len(one_line_each(lines)) == problems

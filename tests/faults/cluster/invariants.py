"""
What must be true of a session whatever happened to it: pure functions over a client's record and
what is stored afterwards. Each violation names its invariant.

1. ``accepted n``: exactly one log entry with that ``n``.
2. An accepted event has one outcome; what its handler does in the world happens at most once.
3. A client sees ``seq`` 1, 2, 3, … without a hole or a repeat, or is told of a gap.
4. What a client saw is in the log; ``user_session`` is what the log says; a count is right.
5. One writer per generation, no write of an older one after a newer, and nothing set back.
6. One live connection; the older is closed with 4509 within a second.

(7 and 8, a stop's delay and a neighbour's latency, are measured by their scenarios; 9, what is
left behind, by the cluster.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from chatsessions.testing.client import Recorded
from tests.support.client import OUTCOMES, Frame

from .books import Stored, Write
from .tab import Line

TAKEN_OVER = 4509
#: Within how many seconds an older connection is closed, and what a busy machine adds.
TAKE_OVER_TIME = 1.0
SLACK = 10.0


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: int
    #: ``hole``, ``repeat``, ``loss``, or another word.
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant} ({self.kind}): {self.detail}"


Violations = Iterator[Violation]


def violations(
    record: Sequence[Recorded], stored: Stored, *, complete: bool = True
) -> list[Violation]:
    """
    What is wrong with one client's session, which has come to rest.

    ``complete``: the client is there still, and has all of it.
    """
    checks = (_accepted_once, _one_outcome, _seen_is_stored, _counted)
    found = [violation for check in checks for violation in check(record, stored)]
    found += _in_order(record, stored.row["head"] if complete else None)
    return [*found, *_one_writer(stored.writes), *_never_back(stored.writes)]


# 1


def _accepted_once(record: Sequence[Recorded], stored: Stored) -> Violations:
    entries: dict[int, list[int]] = {}
    for entry in stored.log:
        if entry.n is not None:
            entries.setdefault(entry.n, []).append(entry.seq)
    for n, seqs in entries.items():
        if len(seqs) > 1:
            yield Violation(1, "repeat", f"event {n} is in the log as {seqs}")
    numbers = list(entries)
    if numbers != list(range(1, len(numbers) + 1)):
        yield Violation(1, "hole", f"the log's events are {numbers}")
    told = {frame["n"]: frame["seq"] for frame in _got(record, "accepted")}
    for n, seq in told.items():
        if n not in entries:
            yield Violation(1, "loss", f"event {n} was accepted as {seq}, and is not in the log")
        elif seq and seq not in entries[n]:
            yield Violation(1, "loss", f"event {n} was accepted as {seq}, and is {entries[n]}")
    received = max((frame["received"] for frame in _got(record, "welcome")), default=0)
    if received > len(numbers):
        yield Violation(1, "loss", f"{received} events were received, {len(numbers)} are stored")


# 2


def _one_outcome(record: Sequence[Recorded], stored: Stored) -> Violations:
    row = stored.row
    if row["running"] is not None:
        yield Violation(2, "unfinished", f"turn {row['running']} runs still")
    if row["handled"] != row["accepted"]:
        detail = f"{row['accepted']} events were accepted, {row['handled']} handled"
        yield Violation(2, "loss", detail)
    outcomes = {
        entry.n: entry.status or "done"
        for entry in stored.log
        if entry.n is not None and entry.name != "answer"
    }
    yield from _told_outcomes(record, outcomes)
    effects = Counter(stored.effects)
    for (n, what), times in effects.items():
        if times > 1:
            yield Violation(2, "repeat", f"{what!r} was done {times} times for event {n}")
    names = {entry.n: entry.name for entry in stored.log if entry.n is not None}
    for n, status in outcomes.items():
        if status != "interrupted" and effects[n, "interrupted"]:
            yield Violation(2, "outcome", f"event {n} was told to be interrupted, and is {status}")
        if status == "done" and names[n] == "message" and not effects[n, "handled"]:
            yield Violation(2, "loss", f"event {n} is done, and nothing was done for it")


def _told_outcomes(record: Sequence[Recorded], outcomes: dict[int, str]) -> Violations:
    told: dict[int, str] = {}
    for frame in _got(record, "turn"):
        turn, status = frame["turn"], frame["status"]
        if status == "running":
            if turn in told:
                yield Violation(2, "repeat", f"turn {turn} runs again after {told[turn]}")
        elif status not in OUTCOMES:
            yield Violation(2, "outcome", f"turn {turn} is {status!r}")
        elif turn in told:
            yield Violation(2, "repeat", f"turn {turn} was {told[turn]}, then {status}")
        else:
            told[turn] = status
    for turn, status in told.items():
        if turn in outcomes and outcomes[turn] != status:
            detail = f"turn {turn} was told as {status}, and is stored as {outcomes[turn]}"
            yield Violation(2, "outcome", detail)


# 3


def _in_order(record: Sequence[Recorded], head: int | None) -> Violations:
    """Along each connection from what its hello said; the last one ends at ``head``."""
    position = 0
    for number, notes in groupby(record, key=lambda note: note.connection):
        walk = _Walk(number)
        for note in notes:
            yield from walk.sent(note.frame) if note.sent else walk.got(note.frame)
        position = walk.position if walk.welcomed else position
    if head is not None and position != head:
        yield Violation(3, "hole", f"the last was {position}, the log ends at {head}")


@dataclass(slots=True)
class _Walk:
    """Along one connection."""

    line: int
    position: int = 0
    welcomed: bool = False

    def sent(self, frame: Frame) -> Violations:
        if frame["type"] == "hello":
            self.position = frame.get("received", 0)
        return iter(())

    def got(self, frame: Frame) -> Violations:
        if frame["type"] == "welcome":
            self.welcomed = True
            self.position = max(self.position, frame["first"] - 1) if frame["resumed"] else 0
        elif frame["type"] == "event":
            seq = frame["seq"]
            if not self.welcomed:
                yield Violation(3, "order", f"line {self.line}: entry {seq} before the welcome")
            if seq <= self.position:
                yield Violation(3, "repeat", f"line {self.line}: {seq} after {self.position}")
            elif seq > self.position + 1:
                yield Violation(3, "hole", f"line {self.line}: {seq} after {self.position}")
            self.position = max(self.position, seq)
        elif frame["type"] == "accepted" and frame["seq"] == self.position + 1:
            # Any other is the same answer again; if it were not, the next entry makes a hole.
            self.position += 1


# 4


def _seen_is_stored(record: Sequence[Recorded], stored: Stored) -> Violations:
    log = {entry.seq: entry for entry in stored.log}
    first = min(log, default=1)
    sessions = {frame["session"] for frame in _got(record, "welcome")}
    if len(sessions) > 1:
        yield Violation(4, "loss", f"the session was lost: {sessions}")
    if [*log] != list(range(first, stored.row["head"] + 1)):
        yield Violation(4, "hole", f"head is {stored.row['head']}, and the log is {[*log]}")
    for frame in _got(record, "event"):
        seq = frame["seq"]
        entry = log.get(seq)
        if entry is None:
            if seq >= first:
                yield Violation(4, "loss", f"entry {seq} was seen, and is not stored")
            continue
        seen = (frame.get("n"), frame["name"], frame["data"])
        if seen != (entry.n, entry.name, entry.data):
            yield Violation(4, "loss", f"entry {seq} was seen as {seen}, and is {entry}")
    for note in record:
        frame = note.frame
        if note.sent and frame["type"] == "event":
            yield from _sent_is_stored(frame, stored)


def _sent_is_stored(frame: Frame, stored: Stored) -> Violations:
    for entry in stored.log:
        if entry.n == frame["n"] and (entry.name, entry.data) != (frame["name"], frame["data"]):
            yield Violation(4, "loss", f"{frame} was sent, and is stored as {entry}")


def _counted(_record: Sequence[Recorded], stored: Stored) -> Violations:
    counted = [entry.data for entry in stored.log if entry.name == "counted"]
    numbers = [data["n"] for data in counted]
    if [data["count"] for data in counted] != list(range(1, len(counted) + 1)):
        yield Violation(4, "count", f"counted were {counted}")
    if len(set(numbers)) < len(numbers):
        yield Violation(4, "repeat", f"counted were {numbers}")
    state = stored.state
    if state.get("count", 0) != len(counted) or state.get("counted", 0) != max(numbers, default=0):
        yield Violation(4, "count", f"the session says {state}, the log {numbers}")
    done = {e.n for e in stored.log if e.name == "message" and e.n and e.status is None}
    if not done <= set(numbers):
        yield Violation(4, "loss", f"done and not counted: {sorted(done - set(numbers))}")


# 5


def _one_writer(writes: Sequence[Write]) -> Violations:
    """Of the audit: who wrote what under which generation, in the order of writing."""
    writers: dict[int, str] = {}
    newest = 0
    rows = {}
    for write in writes:
        if write.generation is None:
            row = rows.get(write.xact)
            if row is None or row.writer != write.writer:
                detail = f"{write.writer} wrote entry {write.seq} without the row"
                yield Violation(5, "writer", detail)
            continue
        rows[write.xact] = write
        if write.generation < newest:
            detail = f"{write.writer} wrote generation {write.generation} after {newest}"
            yield Violation(5, "writer", detail)
        newest = max(newest, write.generation)
        if write.what == "touch":
            continue
        owner = writers.setdefault(write.generation, write.writer)
        if owner != write.writer:
            detail = f"generation {write.generation} was written by {owner} and {write.writer}"
            yield Violation(5, "writer", detail)


def _never_back(writes: Sequence[Write]) -> Violations:
    """A session that changed hands goes on where it was, not where somebody saw it once."""
    rows = [write for write in writes if write.head is not None]
    for before, after in pairwise(rows):
        for name in ("head", "accepted", "handled"):
            was, now = getattr(before, name), getattr(after, name)
            if now < was:
                detail = f"{after.writer} set {name} back from {was} to {now} ({after.what})"
                yield Violation(5, "loss", detail)


# 6


def one_line_each(lines: Iterable[Line]) -> list[Violation]:
    """Of all the connections that one session ever had, by the times of their welcomes."""
    welcomed = sorted(
        (line for line in lines if line.welcomed is not None), key=lambda line: line.welcomed or 0.0
    )
    found = []
    for older, newer in pairwise(welcomed):
        since = newer.welcomed or 0.0
        if older.closed is None or older.closed > since + TAKE_OVER_TIME + SLACK:
            detail = f"line {older.number} to {older.door} lives beside {newer.number}"
            found.append(Violation(6, "lines", detail))
        elif older.closed > since and older.code not in (TAKEN_OVER, None, 1006):
            detail = f"line {older.number} was closed with {older.code}"
            found.append(Violation(6, "lines", detail))
    return found


def _got(record: Sequence[Recorded], kind: str) -> Iterator[dict[str, Any]]:
    return (note.frame for note in record if not note.sent and note.frame["type"] == kind)

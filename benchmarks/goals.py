"""The goals, and a check whether the results meet them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from .modes import SERVERS
from .records import Compared, Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """
    One row of the table: a figure of a record, and the limit for it.

    ``compared`` says how the figure is compared with that of the record's base, round by round. An
    empty ``step`` stands for the last one that was measured.
    """

    title: str
    part: str
    mode: str
    figure: str
    limit: float
    servers: tuple[str, ...] = SERVERS
    step: str = ""
    compared: Compared = "ratio"
    at_least: bool = False
    scale: float = 1.0
    digits: int = 2
    unit: str = ""

    @property
    def wanted(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:g}{self.unit}"

    def meets(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The values measured for a goal, one per round; empty if the goal was not measured."""

    goal: Goal
    server: str
    step: str
    values: list[float]

    @property
    def met(self) -> bool | None:
        """Whether the median of the values meets the goal; None without values."""
        return self.goal.meets(median(self.values)) if self.values else None


#: Of the CPU of the bare consumer, by the server.
CPU_LIMITS = {"daphne": 1.1, "uvicorn": 1.4, "uvicorn[standard]": 1.8}
#: The admin's pages, by the mode that stands for one.
PAGES = {
    "list": ("list of sessions", "the list"),
    "session": ("page of a session", "a session's page"),
}

GOALS = (
    *(
        Goal(
            title="CPU per message, 50 clients, default",
            part="messages",
            mode="default",
            figure="cpu",
            limit=limit,
            servers=(server,),
        )
        for server, limit in CPU_LIMITS.items()
    ),
    Goal(
        title="CPU per message in the server, 50 clients, PostgreSQL and Redis",
        part="messages",
        mode="postgres",
        figure="cpu",
        limit=2.5,
    ),
    Goal(
        title="median latency at 200 messages/s over 50 connections, above the bare consumer's",
        part="latency",
        mode="default",
        figure="reply",
        compared="difference",
        limit=2,
        scale=1e-3,
        unit=" ms",
    ),
    Goal(
        title="messages per second, 200 clients",
        part="throughput",
        mode="default",
        figure="per_second",
        limit=0.7,
        at_least=True,
    ),
    Goal(
        title="connections per second, 500 at once, row stored and greeted",
        part="arrivals",
        mode="default",
        figure="per_second",
        limit=0.7,
        at_least=True,
    ),
    Goal(
        title="memory per idle connection after its first message",
        part="arrivals",
        mode="default",
        figure="kib",
        limit=1.3,
    ),
    Goal(
        title="CPU per token, 50 streams, in one go, of a bare `send` loop",
        part="streams",
        mode="stream",
        figure="cpu_per_token",
        step="in one go",
        limit=0.5,
    ),
    Goal(
        title="CPU per token, 50 streams taking turns, of a bare `send` loop",
        part="streams",
        mode="stream-slow",
        figure="cpu_per_token",
        step="taking turns",
        limit=0.5,
    ),
    Goal(
        title="CPU per message on a full database, of an empty one",
        part="rows",
        mode="default",
        figure="cpu",
        limit=1.2,
    ),
    *(
        Goal(
            title=f"admin: {page}",
            part="admin",
            mode=mode,
            figure="time",
            servers=("SQLite",),
            compared="",
            limit=300,
            scale=1e-3,
            digits=0,
            unit=" ms",
        )
        for mode, (page, _) in PAGES.items()
    ),
    *(
        Goal(
            title=f"admin: queries for {page}, more than with few",
            part="admin",
            mode=mode,
            figure="queries",
            servers=("SQLite",),
            compared="difference",
            limit=0,
            digits=0,
        )
        for mode, (_, page) in PAGES.items()
    ),
)


def judge(results: Results) -> Iterator[Verdict]:
    """Yield a verdict for each goal of a part that was run, on each server it was run on."""
    for goal in GOALS:
        there = {record.server for record in results.of(goal.part)}
        for server in goal.servers:
            if server not in there:
                continue
            record = results.find(goal.part, server, goal.mode, goal.step)
            yield Verdict(
                goal=goal,
                server=server,
                step="" if record is None or goal.step else record.step,
                values=[]
                if record is None
                else results.values(record, goal.figure, goal.compared, goal.scale),
            )

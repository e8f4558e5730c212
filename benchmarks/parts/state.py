"""What a message that changes one small key costs with a larger and larger ``user_session``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.bench import Bench, Contender, closed_loop, network
from benchmarks.modes import HOARD, HOARDS, Mode
from benchmarks.records import Record

from .part import BUSY, Column, Part, by_step, times


def _run(bench: Bench) -> Iterator[Record]:
    for server in bench.servers:
        for mode in bench.available(HOARDS):
            yield from _grow(bench, server, mode)


def _grow(bench: Bench, server: str, mode: Mode) -> Iterator[Record]:
    sizes = bench.plan.state_kib
    if mode is not HOARD:
        sizes = (sizes[0], sizes[-1])
    with network() as wires, ExitStack() as stack:
        bench.say(f"{server}: starting {mode.name}")
        contenders: dict[str, Contender] = {}
        for kib in sizes:
            contender = stack.enter_context(bench.contender(wires, server, mode))
            contender.crowd.connect(bench.plan.few)
            contender.crowd.command("hoard", {"kib": kib})
            contender.crowd.one_each()
            contenders[_step(kib)] = contender
        figures = bench.take_turns(contenders, closed_loop, f"{server}, {mode.name}")
    yield from by_step("state", server, mode, figures)


def _step(kib: int) -> str:
    return f"{kib:,} KiB"


PART = Part(
    name="state",
    title="A message that changes one small key of a `user_session` of this size: 20 clients",
    run=_run,
    columns=(
        times("cpu", "of that with 1 KiB"),
        Column(figure="cpu", title="server CPU, µs"),
        Column(figure="per_second", title="messages/s"),
        *BUSY,
    ),
    step_title="user_session",
)

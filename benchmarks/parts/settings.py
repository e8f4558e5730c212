"""What each of some settings costs or saves by itself."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, closed_loop
from benchmarks.modes import BARE, DEFAULT, SETTINGS
from benchmarks.records import Record

from .part import BUSY, MILLI, Column, Part, by_mode, times


def _run(bench: Bench) -> Iterator[Record]:
    for server in bench.servers:
        modes = [mode for mode in (BARE, DEFAULT, *SETTINGS) if mode.fits(server)]
        with bench.contenders(server, modes, bench.plan.connections) as contenders:
            figures = bench.take_turns(contenders, closed_loop, server)
        yield from by_mode("settings", server, figures, DEFAULT)


PART = Part(
    name="settings",
    title="What settings cost: the counter bot, 50 clients in a closed loop",
    run=_run,
    columns=(
        times("cpu", "of the default"),
        Column(figure="cpu", title="server CPU, µs"),
        Column(figure="per_second", title="messages/s"),
        Column(figure="reply", title="reply, median, ms", scale=MILLI, digits=1),
        *BUSY,
    ),
)

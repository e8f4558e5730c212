"""A message of the counter bot in every mode: its CPU, its latency, and messages per second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.bench import Bench, Measure, closed_loop, paced
from benchmarks.modes import BARE, COUNTERS, DEFAULT, POSTGRES, Mode
from benchmarks.records import Record

from .part import BUSY, MILLI, Column, Part, by_mode, times


def _compare(
    bench: Bench, part: str, modes: Sequence[Mode], connections: int, measure: Measure
) -> Iterator[Record]:
    modes = bench.available(modes)
    for server in bench.servers:
        with bench.contenders(server, modes, connections) as contenders:
            figures = bench.take_turns(contenders, measure, server)
        yield from by_mode(part, server, figures, BARE)


def _messages(bench: Bench) -> Iterator[Record]:
    yield from _compare(bench, "messages", COUNTERS, bench.plan.connections, closed_loop)


def _latency(bench: Bench) -> Iterator[Record]:
    modes = (BARE, DEFAULT, POSTGRES)
    yield from _compare(bench, "latency", modes, bench.plan.connections, paced)


def _throughput(bench: Bench) -> Iterator[Record]:
    modes = (BARE, DEFAULT, POSTGRES)
    yield from _compare(bench, "throughput", modes, bench.plan.throng, closed_loop)


MESSAGES = Part(
    name="messages",
    title="A message of the counter bot: 50 clients in a closed loop",
    run=_messages,
    columns=(
        times("cpu"),
        Column(figure="cpu", title="server CPU, µs"),
        Column(figure="services_cpu", title="CPU of PostgreSQL and Redis, µs"),
        Column(figure="per_second", title="messages/s"),
        Column(figure="client_cpu", title="client CPU, µs"),
        *BUSY,
    ),
    needs_client=("per_second",),
)
LATENCY = Part(
    name="latency",
    title="From message to reply: 200 messages/s in all over 50 connections",
    run=_latency,
    columns=(
        Column(
            figure="reply",
            title="median above the bare consumer's, ms",
            compared="difference",
            scale=MILLI,
            digits=2,
            spread=True,
        ),
        Column(figure="reply", title="median, ms", scale=MILLI, digits=2),
        Column(figure="reply_p99", title="p99, ms", scale=MILLI, digits=2),
        Column(figure="done", title="turn done, median, ms", scale=MILLI, digits=2),
        Column(figure="cpu", title="server CPU per message, µs"),
        Column(figure="lateness", title="worst lateness of the client, ms", scale=MILLI, digits=1),
    ),
)
THROUGHPUT = Part(
    name="throughput",
    title="Messages per second: 200 clients in a closed loop",
    run=_throughput,
    columns=(
        times("per_second"),
        Column(figure="per_second", title="messages/s"),
        Column(figure="cpu", title="server CPU, µs"),
        Column(figure="reply", title="reply, median, ms", scale=MILLI, digits=1),
        *BUSY,
    ),
    needs_client=("per_second",),
)

"""The table: median and spread of each figure, and its ratio to the bare consumer's."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median

from .measure import CLIENT_LIMIT, Figures, Plan
from .process import Cores

PACKAGES = ("chatsessions", "Django", "channels", "daphne", "uvicorn", "websockets", "msgspec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure and how it is shown."""

    name: str
    title: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 0

    def show(self, values: Sequence[float]) -> str:
        middle, low, high = (
            f"{value * self.scale:,.{self.digits}f}"
            for value in (median(values), min(values), max(values))
        )
        return f"{middle} ({low}-{high})" if len(values) > 1 else middle


_MILLI = 1e-3
ROWS = (
    Row(name="cpu_per_message", title="server CPU per message, closed loop", unit="us"),
    Row(name="paced_cpu_per_message", title="server CPU per message, paced", unit="us"),
    Row(name="messages_per_second", title="messages per second, closed loop", unit="/s"),
    Row(name="reply_median", title="reply, paced: median", unit="ms", scale=_MILLI, digits=2),
    Row(name="reply_p99", title="reply, paced: p99", unit="ms", scale=_MILLI, digits=2),
    Row(name="done_median", title="turn done, paced: median", unit="ms", scale=_MILLI, digits=2),
    Row(name="done_p99", title="turn done, paced: p99", unit="ms", scale=_MILLI, digits=2),
    Row(name="closed_reply_median", title="reply, closed loop: median", unit="ms", scale=_MILLI),
    Row(name="connects_per_second", title="connects per second, at once", unit="/s"),
    Row(name="connect_cpu", title="server CPU per connect", unit="us"),
    Row(name="kib_per_connection", title="RSS per idle connection", unit="KiB", digits=1),
)
PERCENT = (
    Row(name="closed_server_busy", title="server busy, closed loop", unit="%", scale=100),
    Row(name="closed_client_busy", title="client busy, closed loop", unit="%", scale=100),
    Row(name="closed_client_cpu", title="client CPU per message", unit="us"),
    Row(name="paced_client_busy", title="client busy, paced", unit="%", scale=100),
    Row(name="paced_lateness", title="worst lateness, paced", unit="ms", scale=_MILLI, digits=1),
    Row(name="connect_client_busy", title="client busy, connecting", unit="%", scale=100),
)

#: A client that wakes up later than this, in seconds, is not alone on its core.
LATENESS_LIMIT = 0.01
#: Nor is a server that uses less of its core than this in the closed loop.
SERVER_LIMIT = 0.8

#: By server, then by variant: one ``Figures`` per round.
Results = dict[str, dict[str, list[Figures]]]


def environment(plan: Plan, cores: Cores) -> dict[str, str]:
    """What the figures depend on."""
    where = (
        f"server on core {cores.server}, client on core {cores.client}"
        if cores.server is not None
        else "server and client not pinned"
    )
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "machine": f"{platform.system()} {platform.machine()}, {cores.count} cores; {where}",
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()) + " (before the run)",
        "plan": f"{plan.rounds} rounds; closed loop {plan.closed_seconds:g} s and paced "
        f"{plan.rate:g}/s for {plan.paced_seconds:g} s over {plan.connections} connections; "
        f"{plan.crowd} connections at once",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def lines(results: Results) -> Iterator[str]:
    """The report, one table per server."""
    for server, variants in results.items():
        yield ""
        yield f"{server}: median (lowest-highest) of the rounds; x: times the bare consumer's"
        yield from _table(variants, ROWS, ratios=True)
        yield ""
        yield f"{server}: how the measurement went"
        yield from _table(variants, PERCENT, ratios=False)
    yield ""
    yield from _warnings(results)


def _table(
    variants: dict[str, list[Figures]], rows: Sequence[Row], *, ratios: bool
) -> Iterator[str]:
    header = ["", ""]
    for variant in variants:
        header.append("bare consumer" if variant == "bare" else f"chatsessions, {variant}")
        if ratios and variant != "bare":
            header.append("x")
    body = [header]
    for row in rows:
        cells = [row.title, row.unit]
        for variant, rounds in variants.items():
            cells.append(row.show([figures[row.name] for figures in rounds]))
            if ratios and variant != "bare":
                cells.append(_ratio(row, rounds, variants["bare"]))
        body.append(cells)
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    for cells in body:
        first = f"  {cells[0]:<{widths[0]}} {cells[1]:<{widths[1]}}"
        rest = zip(cells[2:], widths[2:], strict=True)
        yield first + "".join(f"   {cell:>{width}}" for cell, width in rest)


def _ratio(row: Row, ours: list[Figures], bare: list[Figures]) -> str:
    """Round by round, so that what slows a whole round down cancels out."""
    pairs = zip(ours, bare, strict=True)
    shown = Row(name=row.name, title=row.title, digits=2)
    return shown.show([mine[row.name] / base[row.name] for mine, base in pairs])


def _warnings(results: Results) -> Iterator[str]:
    clean = True
    for server, variants in results.items():
        for variant, rounds in variants.items():
            for name in ("closed_client_busy", "paced_client_busy", "connect_client_busy"):
                busiest = max(figures[name] for figures in rounds)
                if busiest > CLIENT_LIMIT:
                    clean = False
                    what = name.removesuffix("_client_busy")
                    yield f"! {server}, {variant}, {what}: the client's core was {busiest:.0%} busy"
            late = max(figures["paced_lateness"] for figures in rounds) / 1e6
            if late > LATENESS_LIMIT:
                yield (
                    f"! {server}, {variant}: the client was kept waiting for {late * 1e3:.0f} ms; "
                    "other work disturbs the latencies"
                )
            busy = median(figures["closed_server_busy"] for figures in rounds)
            if busy < SERVER_LIMIT:
                yield (
                    f"! {server}, {variant}: the server had its core for {busy:.0%} of the time; "
                    "messages per second are those of a shared machine"
                )
    if clean:
        yield f"The client's core was never more than {CLIENT_LIMIT:.0%} busy."

"""What a part is: something to run, and the columns of its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.bench import Bench
from benchmarks.records import Compared, Record

MILLI = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One figure of a table, as it is, or compared with that of the record's base."""

    figure: str
    title: str
    compared: Compared = ""
    scale: float = 1.0
    digits: int = 0
    #: Whether lowest and highest are shown.
    spread: bool = False


def times(figure: str, title: str = "of the bare consumer") -> Column:
    """How many times the base's."""
    return Column(figure=figure, title=title, compared="ratio", digits=2, spread=True)


#: The two that say whether a figure is the server's or the client's.
BUSY = (
    Column(figure="server_busy", title="server busy, %", scale=100),
    Column(figure="client_busy", title="client busy, %", scale=100),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One table. ``note`` says below it what there is to know."""

    name: str
    title: str
    run: Callable[[Bench], Iterator[Record]]
    columns: tuple[Column, ...]
    note: str = ""
    #: What its first columns are called: of the modes, and of what grows.
    mode_title: str = "application"
    step_title: str = ""
    #: Figures that are worthless where the client was at its limit.
    needs_client: tuple[str, ...] = field(default=())

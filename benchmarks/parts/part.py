"""``Part``: a function that measures, and the columns of the table with its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.bench import Bench
from benchmarks.records import Compared, Record

MILLI = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: one figure, as it is or compared with the figure of the record's base."""

    figure: str
    title: str
    compared: Compared = ""
    scale: float = 1.0
    digits: int = 0
    #: Whether the lowest and highest values are shown.
    spread: bool = False


def times(figure: str, title: str = "of the bare consumer") -> Column:
    """Return a column with the ratio of a figure to the base's figure."""
    return Column(figure=figure, title=title, compared="ratio", digits=2, spread=True)


#: The columns that say whether the server or the client limits a figure.
BUSY = (
    Column(figure="server_busy", title="server busy, %", scale=100),
    Column(figure="client_busy", title="client busy, %", scale=100),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the benchmark, and its table."""

    name: str
    title: str
    run: Callable[[Bench], Iterator[Record]]
    columns: tuple[Column, ...]
    #: The titles of the first columns: of the modes, and of the steps.
    mode_title: str = "application"
    step_title: str = ""
    #: Figures that are worthless if the client was at its limit.
    needs_client: tuple[str, ...] = field(default=())

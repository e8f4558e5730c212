"""``Part``: a function that measures, and the columns of the table with its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.bench import Bench
from benchmarks.modes import Mode
from benchmarks.records import Compared, Figures, Record

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


def by_mode(
    part: str, server: str, figures: Mapping[str, list[Figures]], base: Mode
) -> Iterator[Record]:
    """Yield a record for each mode, to be compared with ``base``."""
    for mode, rounds in figures.items():
        yield Record(part=part, server=server, mode=mode, rounds=rounds, base_mode=base.name)


def by_step(
    part: str, server: str, mode: Mode, figures: Mapping[str, list[Figures]]
) -> Iterator[Record]:
    """Yield a record for each step of ``mode``, to be compared with the first step."""
    for step, rounds in figures.items():
        yield Record(
            part=part,
            server=server,
            mode=mode.name,
            step=step,
            rounds=rounds,
            base_mode=mode.name,
            base_step=next(iter(figures)),
        )

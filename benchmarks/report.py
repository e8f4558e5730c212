"""The results as tables, one of the goals and one for each part, and their places in a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from .goals import Verdict, judge
from .modes import MODES
from .parts import PARTS, Column, Part
from .records import Record, Results
from .wire import BenchmarkError

#: Above this share of its core, the client may limit the server.
CLIENT_LIMIT = 0.8
#: Below this share of its core, the server waited in the closed loop, for a disk for instance.
SERVER_LIMIT = 0.8
#: If a client sends later than this, in microseconds, other processes use its core.
LATENESS_LIMIT = 10_000

_MET = {True: "met", False: "NOT MET", None: "not measured"}


def tables(results: Results) -> Iterator[Table]:
    """Yield all tables, that of the goals first."""
    yield goals(results)
    for part in PARTS.values():
        if records := results.of(part.name):
            yield of_part(results, part, records)


def goals(results: Results) -> Table:
    """Return the table of the goals, which says whether each is met."""
    rows = [["goal", "server", "wanted", "measured", ""]]
    return Table(
        name="goals",
        title="Goals: times the bare consumer's on the same server, round by round",
        rows=rows + [_verdict(verdict) for verdict in judge(results)],
        words=3,
        notes=[f"not measured: {line}" for line in results.skipped],
    )


def _verdict(verdict: Verdict) -> list[str]:
    goal = verdict.goal
    measured = show(verdict.values, goal.digits, spread=True)
    return [
        f"{goal.title} ({verdict.step})" if verdict.step else goal.title,
        verdict.server,
        goal.wanted,
        f"{measured}{goal.unit}" if verdict.values else measured,
        _MET[verdict.met],
    ]


def of_part(results: Results, part: Part, records: Sequence[Record]) -> Table:
    """Return the table of a part, with a row for each record and no empty columns."""
    columns = [
        (column, cells)
        for column in part.columns
        if any(cells := [_cell(results, record, column) for record in records])
    ]
    words = ["server", part.mode_title, *([part.step_title] if part.step_title else [])]
    rows = [[*words, *(column.title for column, _ in columns)]]
    for number, record in enumerate(records):
        mode = MODES.get(record.mode)
        names = [record.server, mode.title if mode else record.mode]
        names += [record.step] if part.step_title else []
        rows.append([*names, *(cells[number] or "-" for _, cells in columns)])
    return Table(
        name=part.name,
        title=part.title,
        rows=rows,
        words=len(words),
        notes=list(_warnings(part, records)),
    )


def _cell(results: Results, record: Record, column: Column) -> str:
    values = results.values(record, column.figure, column.compared, column.scale)
    return show(values, column.digits, spread=column.spread) if values else ""


def _warnings(part: Part, records: Sequence[Record]) -> Iterator[str]:
    """Yield notes on what spoils figures: a busy client, a waiting server, a late client."""
    shown = {column.figure for column in part.columns}
    if part.needs_client:
        yield from _where(
            "the client's core was more than 80 % busy, and "
            f"{' and '.join(part.needs_client)} are those of the client, not of the server",
            [record for record in records if _median(record, "client_busy") > CLIENT_LIMIT],
        )
    if "server_busy" in shown:
        yield from _where(
            "the server did not have its core for 80 % of the time (it waited for the client, for "
            "services, for the disk, or for others on its core): compare CPU, not messages/s",
            [record for record in records if _median(record, "server_busy", 1.0) < SERVER_LIMIT],
        )
    if "lateness" in shown:
        yield from _where(
            "the client sent more than 10 ms late: others are on its core",
            [record for record in records if _median(record, "lateness") > LATENESS_LIMIT],
        )


def _where(what: str, records: Sequence[Record]) -> Iterator[str]:
    if records:
        names = (f"{record.server} {record.mode} {record.step}".strip() for record in records)
        yield f"{what}: {', '.join(names)}"


def _median(record: Record, figure: str, otherwise: float = 0.0) -> float:
    values = [figures[figure] for figures in record.rounds if figure in figures]
    return median(values) if values else otherwise


def facts(results: Results) -> Iterator[str]:
    """Yield what the figures depend on, as lines of a list."""
    yield from (f"- {name}: {fact}" for name, fact in results.environment.items())


# Tables, as text for a terminal and as Markdown

#: The place of a table in a page: its name, and the old table.
_PLACE = re.compile(r"(?<=<!-- figures: )(\w+) -->\n.*?(?=<!-- /figures -->)", re.DOTALL)
#: The name of the place for the list of what the figures depend on.
FACTS = "environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A title, rows of cells, the first of which is the header, and notes below the rows."""

    name: str
    title: str
    rows: list[list[str]]
    #: How many columns at the left hold words, not numbers.
    words: int
    notes: list[str] = field(default_factory=list)

    def text(self) -> Iterator[str]:
        """Yield the lines of the table for a terminal."""
        rows = [[cell.replace("`", "") for cell in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield self.title.replace("`", "")
        for number, row in enumerate(rows):
            yield (
                "  "
                + "  ".join(
                    f"{cell:<{width}}" if place < self.words else f"{cell:>{width}}"
                    for place, (cell, width) in enumerate(zip(row, widths, strict=True))
                ).rstrip()
            )
            if not number:
                yield "  " + "  ".join("-" * width for width in widths)
        yield from (f"  ! {note}" for note in self.notes)

    def markdown(self) -> Iterator[str]:
        """Yield the lines of the table in Markdown, without the title, which the page has."""
        ruler = ["---" if place < self.words else "---:" for place in range(len(self.rows[0]))]
        for row in (self.rows[0], ruler, *self.rows[1:]):
            yield f"| {' | '.join(row)} |"
        if self.notes:
            yield ""
            yield from (f"- {note}" for note in self.notes)


def show(values: Sequence[float], digits: int, *, spread: bool) -> str:
    """Return the median, with ``spread`` also the lowest and highest; a dash without values."""
    if not values:
        return "-"
    middle, low, high = (
        f"{value:,.{digits}f}" for value in (median(values), min(values), max(values))
    )
    return f"{middle} ({low}-{high})" if spread and low != high else middle


def write_page(path: Path, tables: Iterable[Table], facts: Iterable[str]) -> None:
    """
    Put each table where the page at ``path`` has ``<!-- figures: NAME -->``.

    The table replaces the text up to ``<!-- /figures -->``. Places without a table stay as they
    are. Raises ``BenchmarkError`` if the page has no place or cannot be read.
    """
    blocks = {table.name: list(table.markdown()) for table in tables}
    blocks[FACTS] = list(facts)

    def filled(place: re.Match[str]) -> str:
        if place[1] not in blocks:
            return place[0]
        return "\n".join([f"{place[1]} -->", "", *blocks[place[1]], "", ""])

    try:
        text, count = _PLACE.subn(filled, path.read_text())
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error}") from error
    if not count:
        raise BenchmarkError(f"{path} has no place for a table: <!-- figures: NAME -->")
    path.write_text(text)

"""Tables, as text for a terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from .wire import BenchmarkError

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

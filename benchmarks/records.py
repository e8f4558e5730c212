"""The results of a run, and the files that keep them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from .wire import BenchmarkError

#: Values of figures, by their names. CPU times and latencies are in microseconds.
Figures = dict[str, float]
#: How a figure is shown: as it is, divided by the base's, or less the base's.
Compared = Literal["", "ratio", "difference"]


@dataclass(slots=True, kw_only=True)
class Record:
    """The figures of one mode on one server, one per round. ``step`` is the size that grows."""

    part: str
    server: str
    mode: str
    rounds: list[Figures]
    step: str = ""
    #: The mode and step of the record to compare with, of the same part and server.
    base_mode: str = ""
    base_step: str = ""


@dataclass(slots=True, kw_only=True)
class Results:
    """The results of one run, or of several runs put together."""

    environment: dict[str, str]
    records: list[Record] = field(default_factory=list)
    #: The measurements that were left out, and why.
    skipped: list[str] = field(default_factory=list)
    #: Whether a part failed. A mode that is left out for lack of a service is no failure.
    failed: bool = False

    def find(self, part: str, server: str, mode: str, step: str = "") -> Record | None:
        """Return the last record that matches, or None; an empty ``step`` matches any."""
        found = [
            record
            for record in self.records
            if (record.part, record.server, record.mode) == (part, server, mode)
            and step in ("", record.step)
        ]
        return found[-1] if found else None

    def base(self, record: Record) -> Record | None:
        """Return the record that ``record`` is compared with; None if there is none."""
        if not record.base_mode:
            return None
        same = (record.part, record.server, record.base_mode, record.base_step)
        for other in self.records:
            if (other.part, other.server, other.mode, other.step) == same:
                return None if other is record else other
        return None

    def values(
        self, record: Record, figure: str, compared: Compared = "", scale: float = 1.0
    ) -> list[float]:
        """
        Return a figure of ``record``, one value per round; an empty list without such a figure.

        It is compared with the base's figure round by round, so that what slows down a whole round
        cancels out.
        """
        if any(figure not in figures for figures in record.rounds):
            return []
        values = [figures[figure] for figures in record.rounds]
        if not compared:
            return [value * scale for value in values]
        base = self.base(record)
        if base is None:
            return []
        pairs = zip(values, (figures[figure] for figures in base.rounds), strict=True)
        if compared == "ratio":
            return [value / other for value, other in pairs]
        return [(value - other) * scale for value, other in pairs]

    def of(self, part: str) -> list[Record]:
        return [record for record in self.records if record.part == part]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def read(paths: Sequence[Path]) -> Results:
    """Return the results in files; for a part in several of them, those of the last file."""
    whole = Results(environment={})
    for path in paths:
        try:
            data = json.loads(path.read_text())
            results = Results(
                environment=data["environment"],
                records=[Record(**record) for record in data["records"]],
                skipped=data["skipped"],
                failed=data["failed"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchmarkError(f"{path} is no file of --json: {error}") from error
        parts = {record.part for record in results.records}
        kept = [record for record in whole.records if record.part not in parts]
        whole = Results(
            environment=whole.environment | results.environment,
            records=kept + results.records,
            skipped=list(dict.fromkeys(whole.skipped + results.skipped)),
            failed=whole.failed or results.failed,
        )
    return whole

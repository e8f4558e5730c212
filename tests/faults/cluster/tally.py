"""The table that a run of the fault tests ends with."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields


@dataclass
class Tally:
    """One scenario's row."""

    runs: int = 0
    messages: int = 0
    moves: int = 0
    kills: int = 0
    holes: int = 0
    repeats: int = 0
    losses: int = 0


#: By the scenario's name, over the whole run.
tallies: dict[str, Tally] = {}


def tally_of(name: str) -> Tally:
    return tallies.setdefault(name, Tally())


def plain() -> dict[str, list[int]]:
    """Return the rows as one process of a run sends them to the one that prints them."""
    return {name: list(astuple(tally)) for name, tally in tallies.items()}


def add(rows: dict[str, list[int]]) -> None:
    """Add the rows of another process."""
    for name, values in rows.items():
        before = astuple(tally_of(name))
        tallies[name] = Tally(*(one + more for one, more in zip(before, values, strict=True)))


def table() -> list[str]:
    """Its lines, the sum last."""
    names = [field.name for field in fields(Tally)]
    total = [sum(values) for values in zip(*map(astuple, tallies.values()), strict=True)]
    width = max(map(len, tallies)) + 2
    head = "scenario".ljust(width) + "".join(name.rjust(10) for name in names)
    rows = [(name, astuple(tally)) for name, tally in sorted(tallies.items())]
    return [
        head,
        *(
            name.ljust(width) + "".join(f"{value:10,}" for value in values)
            for name, values in [*rows, ("all", tuple(total))]
        ),
    ]

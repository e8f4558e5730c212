"""The plan of a run: how many rounds, for how long, with how many clients and rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    The plan of a run; the defaults are those of the full one. Times are in seconds.

    There are many short rounds instead of few long ones, because the other load of the machine
    changes from second to second. ``rounds`` is the number of rounds in which all contenders take
    turns. There are fewer ``long_rounds``, which do more each, and ``fresh_rounds``, which start
    new processes.
    """

    rounds: int = 15
    long_rounds: int = 6
    fresh_rounds: int = 4
    #: The time of a closed loop, in which each client sends as soon as it is answered.
    closed_seconds: float = 0.6
    paced_seconds: float = 1.5
    #: The time in which no client sends anything.
    idle_seconds: float = 2.0
    #: Connections that send messages; ``throng`` is their number for messages per second.
    connections: int = 50
    throng: int = 200
    #: Messages per second of the paced load, of all connections together.
    rate: float = 200.0
    #: Connections that are opened at once, and then stay idle.
    crowd: int = 500

    # Sizes that grow during a part

    sessions_held: tuple[int, ...] = (100, 500, 1000, 2000)
    #: Rows of sessions; each has ``entries_per_session`` rows in the log.
    session_rows: tuple[int, ...] = (1_000, 10_000, 100_000)
    entries_per_session: int = 50
    state_kib: tuple[int, ...] = (1, 16, 128, 1024)
    log_entries: tuple[int, ...] = (10, 100, 1_000, 10_000)
    #: Clients with a large ``state_kib`` or ``log_entries``, and how many of them reload.
    few: int = 20
    reloading: int = 5
    #: Log entries of the session whose page the admin shows.
    page_entries: int = 10_000


FULL = Plan()
QUICK = Plan(
    rounds=6,
    long_rounds=3,
    fresh_rounds=2,
    closed_seconds=0.4,
    paced_seconds=1.0,
    sessions_held=(100, 1000),
    session_rows=(10_000,),
    state_kib=(1, 1024),
    log_entries=(10, 1_000),
)

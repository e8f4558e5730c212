"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    The full run. Times in seconds.

    Many short rounds rather than few long ones: what else the machine does changes from second to
    second. ``rounds`` are those in which everything takes turns; there are fewer ``long_rounds``,
    with more to do in each, and ``fresh_rounds``, which begin with new processes.
    """

    rounds: int = 15
    long_rounds: int = 6
    fresh_rounds: int = 4
    #: Of the loop in which everybody sends as soon as they are answered.
    closed_seconds: float = 0.6
    paced_seconds: float = 1.5
    #: For which nobody says anything.
    idle_seconds: float = 2.0
    #: Connections that send messages; and of the run for messages per second.
    connections: int = 50
    throng: int = 200
    #: Messages a second of the paced load, over all connections.
    rate: float = 200.0
    #: Connections that come at once, and stay idle.
    crowd: int = 500

    # What grows

    sessions_held: tuple[int, ...] = (100, 500, 1000, 2000)
    #: Rows of sessions; the log has fifty times as many.
    session_rows: tuple[int, ...] = (1_000, 10_000, 100_000)
    entries_per_session: int = 50
    state_kib: tuple[int, ...] = (1, 16, 128, 1024)
    log_entries: tuple[int, ...] = (10, 100, 1_000, 10_000)
    #: Clients of the last two, whose sessions are large; and of those how many reload.
    few: int = 20
    reloading: int = 5
    #: The session whose page the admin shows.
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

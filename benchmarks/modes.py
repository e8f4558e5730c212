"""The modes to compare: how an application keeps its state, and how its server is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .crowd import Client
from .talkers import BareClient, BareListener, ChatClient, ChatListener

#: The last is uvicorn on uvloop and httptools, as ``pip install uvicorn[standard]`` makes it.
SERVERS = ("daphne", "uvicorn", "uvicorn[standard]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One mode; by default it is the counter bot on our default settings."""

    name: str
    title: str
    path: str = "/ws/counter/"
    dialect: type[Client] = ChatClient
    #: Django settings in which it differs; the key ``SQLITE`` is the command that each new
    #: connection to SQLite runs first.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it uses PostgreSQL and Redis.
    services: bool = False
    #: Whether its clients offer compression, as browsers do. Daphne does not accept the offer.
    compressed: bool = False

    def fits(self, server: str) -> bool:
        """Return True if ``server`` can run this mode."""
        return server != "daphne" or not self.compressed


BARE = Mode(name="bare", title="bare consumer", path="/ws/bare/", dialect=BareClient)
CACHE = Mode(
    name="cache",
    title="hand-made: `cache.aget` + `aset`, local memory",
    path="/ws/bare-cache/",
    dialect=BareClient,
)
REDIS = Mode(
    name="redis",
    title="hand-made: `cache.aget` + `aset`, Redis",
    path="/ws/bare-cache/",
    dialect=BareClient,
    services=True,
)
DJANGO = Mode(
    name="django",
    title="hand-made: Django session saved per message, SQLite",
    path="/ws/bare-session/",
    dialect=BareClient,
)
FLOOR = Mode(
    name="floor",
    title="the floor: plain ASGI, our frames of a message in one bundle, nothing stored",
    path="/ws/four-frames/",
)
DEFAULT = Mode(name="default", title="chatsessions, default: all in SQLite")
POSTGRES = Mode(
    name="postgres",
    title="chatsessions, default: all in PostgreSQL, values in Redis",
    services=True,
)


def _streams(suffix: str, path: str) -> tuple[Mode, Mode]:
    """Return the mode of a bare consumer that streams, and that of a chat that does."""
    return (
        Mode(
            name=f"bare-stream{suffix}",
            title="bare consumer",
            path=f"/ws/bare-storyteller/{path}",
            dialect=BareListener,
        ),
        Mode(
            name=f"stream{suffix}",
            title="chatsessions, default",
            path=f"/ws/storyteller/{path}",
            dialect=ChatListener,
        ),
    )


#: The modes that stream, by whether other tasks run between two tokens.
STREAMS = {"in one go": _streams("", ""), "taking turns": _streams("-slow", "slow/")}
IN_CACHE = {"CHATSESSIONS": {"USER_SESSION_STORE": "cache"}}
HOARD = Mode(name="hoard", title="chatsessions, default", path="/ws/hoarder/")
#: Modes with a large ``user_session``; they differ in where its values are stored.
HOARDS = (
    HOARD,
    Mode(
        name="hoard-cache",
        title='`USER_SESSION_STORE="cache"`',
        path="/ws/hoarder/",
        settings=IN_CACHE,
    ),
    Mode(
        name="hoard-postgres",
        title="PostgreSQL, values also in Redis",
        path="/ws/hoarder/",
        services=True,
    ),
)

#: The modes that run the counter bot in different ways.
COUNTERS = (BARE, CACHE, REDIS, DJANGO, FLOOR, DEFAULT, POSTGRES)

COMPRESSED = Mode(name="compressed", title="compressed, as browsers ask for it", compressed=True)
#: Modes that differ from the default in one setting, to measure what that setting costs.
SETTINGS = (
    Mode(name="cache-store", title='`USER_SESSION_STORE="cache"`', settings=IN_CACHE),
    Mode(
        name="full-sync",
        title="SQLite with `synchronous=FULL`",
        settings={"SQLITE": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"},
    ),
    COMPRESSED,
)

#: Modes that differ in how far a handler may run ahead of the journal; the default is first.
UNCOMMITTED = tuple(
    Mode(
        name=f"uncommitted-{count}",
        title=f"`MAX_UNCOMMITTED={count}`",
        path="/ws/hoarder/",
        settings={"CHATSESSIONS": {"MAX_UNCOMMITTED": count}},
    )
    for count in (64, 1, 8, 512)
)

_ALL = (
    *COUNTERS,
    *STREAMS["in one go"],
    *STREAMS["taking turns"],
    *HOARDS,
    *SETTINGS,
    *UNCOMMITTED,
)
MODES = {mode.name: mode for mode in _ALL}

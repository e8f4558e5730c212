"""Where the server's time goes: ``python -m benchmarks --profile``."""

from __future__ import annotations

import pstats
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .measure import CLIENTS, Plan, crowd_of
from .process import Cores, serve

#: Functions shown per table.
SHOWN = 40

#: Built-in functions that cost time and no CPU.
WAITING = ("'poll' of", "'select' of", "_queue.SimpleQueue", "'acquire' of")
#: Built-in functions whose cost is that of the system or the database.
TOLD_APART = ("sqlite3", "SQLite", "epoll", "socket", "msgspec")

#: What ``pstats`` knows of a function: file, line, name.
Function = tuple[str, int, str]


def profile(
    server: str, variant: str, plan: Plan, *, cores: Cores, data: Path, seconds: float
) -> Iterator[str]:
    """
    Run the closed loop under ``cProfile`` and say what the functions cost per message.

    Profiling makes calls dearer and loops cheaper than they are; the order is what counts.
    """
    with (
        tempfile.TemporaryDirectory(prefix="chatsessions-benchmark-") as folder,
        serve(server, variant, cores=cores, data=data, profile=True) as process,
        crowd_of(process, CLIENTS[variant], plan.connections) as crowd,
    ):
        crowd.closed_loop(0.5)
        process.start_profile()
        load = crowd.closed_loop(seconds)
        process.stop_profile(Path(folder))
        yield f"{server}, {variant}: {load.messages:,} messages in {load.seconds:.1f} s, profiled"
        for path in sorted(Path(folder).glob("*.prof")):
            yield from _thread(path, load.messages)


def _thread(path: Path, messages: int) -> Iterator[str]:
    stats: Any = pstats.Stats(str(path))
    working = {name: figures for name, figures in stats.stats.items() if not _waits(name)}
    total = sum(own for _, _, own, _, _ in working.values())
    if total / messages < 1e-6:
        return  # a thread that has nothing to do with messages
    yield ""
    yield f"{path.stem}: {total / messages * 1e6:,.0f} us per message, by package"
    packages: dict[str, float] = defaultdict(float)
    for function, (_, _, own, _, _) in working.items():
        packages[_package(function)] += own
    for name, own in sorted(packages.items(), key=lambda item: -item[1])[:16]:
        yield f"  {own / messages * 1e6:8.1f} us  {name}"
    for title, index in (("in themselves", 2), ("with all they call", 3)):
        yield ""
        yield f"{path.stem}: functions by what they cost {title}, per message"
        ranked = sorted(working.items(), key=lambda item: -item[1][index])
        for function, figures in ranked[:SHOWN]:
            cost, calls = figures[index] / messages * 1e6, figures[1] / messages
            yield f"  {cost:8.1f} us {calls:7.2f} calls  {_name(function)}"


def _waits(function: Function) -> bool:
    """Whether it waits for something to do: for the network, or for another thread."""
    return function[0] == "~" and any(name in function[2] for name in WAITING)


def _package(function: Function) -> str:
    file, _, name = function
    if file == "~":
        return (
            f"built in: {name}" if any(kind in name for kind in TOLD_APART) else "built in: other"
        )
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "chatsessions" in parts:
        return f"chatsessions/{parts[-1]}"
    if "asyncio" in parts:
        return "asyncio"
    return "benchmarks and demo" if "benchmarks" in parts or "demo_project" in parts else "Python"


def _name(function: Function) -> str:
    file, line, name = function
    if file == "~":
        return name
    parts = Path(file).parts
    return f"{'/'.join(parts[-2:])}:{line} {name}"

"""
Where the server's time goes: ``python -m benchmarks.profile --server uvicorn --mode default``.

Runs the closed loop under ``cProfile`` and says what functions and packages cost per message.
Profiling makes calls dearer and loops cheaper than they are; the order is what counts.
"""

from __future__ import annotations

import argparse
import pstats
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import services
from .bench import Bench, network
from .modes import MODES, SERVERS
from .plan import QUICK
from .process import folder, pin
from .wire import BenchmarkError

#: Built-in functions that take time but no CPU.
WAITING = ("'poll' of", "'select' of", "_queue.SimpleQueue", "'acquire' of")
#: Built-in functions that are listed by name, because they call the system or a C library.
TOLD_APART = ("sqlite3", "SQLite", "epoll", "socket", "msgspec")

#: How ``pstats`` identifies a function: file, line, name.
Function = tuple[str, int, str]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="uvicorn", help="(default: uvicorn)")
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="default",
        metavar="MODE",
        help=f"one of {', '.join(MODES)} (default: default)",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="for how long (default: 5)")
    parser.add_argument("--clients", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--kib", type=int, help="what clients of a hoard hold (default: nothing)")
    parser.add_argument("--shown", type=int, default=40, help="functions per table (default: 40)")
    options = parser.parse_args(arguments)
    try:
        for line in profile(options):
            print(line)
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def profile(options: argparse.Namespace) -> Iterator[str]:
    mode, server = MODES[options.mode], options.server
    if mode.services and (lacking := services.missing()):
        raise BenchmarkError(f"not installed: {', '.join(lacking)}")
    with (
        Bench(QUICK, pin(), [server]) as bench,
        folder() as found,
        network() as wires,
        bench.contender(wires, server, mode, profile=True) as contender,
    ):
        contender.crowd.connect(options.clients)
        if options.kib:
            contender.crowd.command("hoard", {"kib": options.kib})
        contender.crowd.closed_loop(0.5)
        contender.process.start_profile()
        load = contender.crowd.closed_loop(options.seconds)
        contender.process.stop_profile(found)
        yield f"{server}, {mode.name}: {load.messages:,} messages in {load.seconds:.1f} s, profiled"
        for path in sorted(found.glob("*.prof")):
            yield from _thread(path, load.messages, options.shown)


def _thread(path: Path, messages: int, shown: int) -> Iterator[str]:
    stats: Any = pstats.Stats(str(path))
    working = {name: figures for name, figures in stats.stats.items() if not _waits(name)}
    total = sum(own for _, _, own, _, _ in working.values())
    if total / messages < 1e-6:
        return  # this thread does not work on messages
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
        for function, figures in ranked[:shown]:
            cost, calls = figures[index] / messages * 1e6, figures[1] / messages
            yield f"  {cost:8.1f} us {calls:7.2f} calls  {_name(function)}"


def _waits(function: Function) -> bool:
    """Return True if a function waits for the network or for another thread."""
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


if __name__ == "__main__":
    sys.exit(main())

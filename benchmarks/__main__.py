"""
What chatsessions costs beside a bare consumer: ``python -m benchmarks``.

Everything that is compared runs at the same time in server processes of its own, and takes turns,
so that whatever else the machine does hits all of it alike.
"""

from __future__ import annotations

import argparse
import gc
import resource
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from . import environment
from .bench import Bench
from .modes import SERVERS
from .parts import PARTS
from .plan import FULL, QUICK, Plan
from .process import pin
from .records import Results, read
from .report import facts, tables, write_page
from .wire import BenchmarkError


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog="parts: " + ", ".join(PARTS)
    )
    parser.add_argument("--quick", action="store_true", help="shorter, and with fewer rows")
    parser.add_argument(
        "--only",
        type=_names(PARTS),
        default=list(PARTS),
        metavar="NAMES",
        help="parts to run, with commas between them",
    )
    parser.add_argument(
        "--servers",
        type=_names(SERVERS),
        default=list(SERVERS),
        metavar="NAMES",
        help=f"which, with commas between them (default: {','.join(SERVERS)})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument(
        "--from",
        dest="files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure nothing, show what --json has written; later files go before earlier ones",
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put the tables into this Markdown page"
    )
    return parser.parse_args(arguments)


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",")]
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return list(dict.fromkeys(found))

    return names


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        results = read(options.files) if options.files else run(options)
        if options.write is not None:
            write_page(options.write, tables(results), facts(results))
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    for table in tables(results):
        print()
        if options.markdown:
            print(f"## {table.title}\n")
        for line in table.markdown() if options.markdown else table.text():
            print(line)
    print()
    for line in facts(results):
        print(line)
    return 1 if results.failed else 0


def _leave(*_: object) -> None:
    """Handle a signal as Ctrl-C, so that the benchmark cleans up before it ends."""
    raise KeyboardInterrupt


def run(options: argparse.Namespace) -> Results:
    """
    Run the parts, and return their results.

    With ``--json`` the results are written after every part, so that a later failure loses none.
    """
    plan = QUICK if options.quick else FULL
    _allow_files(_sockets(plan))
    cores = pin()
    # Bench collects garbage between the measurements.
    gc.disable()
    results = Results(environment=environment.facts(plan, cores))
    with Bench(plan, cores, options.servers) as bench:
        for number, name in enumerate(options.only, 1):
            bench.begin(name, f"{number}/{len(options.only)}")
            try:
                results.records += PARTS[name].run(bench)
            except BenchmarkError as error:
                # Go on with the other parts.
                bench.skip(name, str(error))
                results.failed = True
            results.skipped = bench.skipped
            results.environment |= environment.after()
            if options.json is not None:
                results.write(options.json)
    return results


def _sockets(plan: Plan) -> int:
    """Return the most sockets that one process has open at a time."""
    held = 2 * max(plan.sessions_held)
    return max(held, 8 * plan.throng, 2 * plan.crowd) + 200


def _allow_files(count: int) -> None:
    """
    Raise the limit of open files to ``count``, for this process and the servers that it starts.

    A crowd needs more sockets than some systems allow by default.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchmarkError(f"{count} open files are needed, and {hard} allowed (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


if __name__ == "__main__":
    sys.exit(main())

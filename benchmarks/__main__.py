"""
Compare the counter bot with a bare consumer: ``python -m benchmarks``.

Every round measures every variant on every server, each in server processes of its own, so that
whatever else the machine does hits them alike.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import report
from .measure import CLIENTS, SERVERS, Plan, measure
from .process import Cores, pin, template
from .profile import profile

VARIANTS = tuple(CLIENTS)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute")
    parser.add_argument("--rounds", type=_count, metavar="N", help="how many (default: 4)")
    parser.add_argument(
        "--servers",
        type=_servers,
        default=list(SERVERS),
        metavar="NAMES",
        help=f"which, with commas between them (default: {','.join(SERVERS)})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument(
        "--profile",
        nargs="?",
        const="default",
        choices=VARIANTS,
        metavar="VARIANT",
        help="instead of measuring, show where the time of a variant goes "
        f"({', '.join(VARIANTS)}; default: default)",
    )
    parser.add_argument(
        "--profile-seconds", type=float, default=5.0, metavar="S", help="for how long (default: 5)"
    )
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1 round")
    return value


def _servers(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in SERVERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SERVERS)}")
    return list(dict.fromkeys(names))


def main() -> None:
    options = parse()
    plan = (
        Plan(rounds=options.rounds or 1, crowd=300, closed_seconds=1.0, paced_seconds=1.5)
        if options.quick
        else Plan(rounds=options.rounds or 4)
    )
    _allow_files(2 * plan.crowd + 100)
    cores = pin()
    # Between the measurements it is collected by hand.
    gc.disable()
    facts = report.environment(plan, cores)
    for name, fact in facts.items():
        print(f"{name:9} {fact}")
    with template() as data:
        if options.profile:
            for server in options.servers:
                for line in profile(
                    server,
                    options.profile,
                    plan,
                    cores=cores,
                    data=data,
                    seconds=options.profile_seconds,
                ):
                    print(line)
            return
        results = run(options.servers, plan, cores=cores, data=data)
    for line in report.lines(results):
        print(line)
    if options.json is not None:
        options.json.write_text(json.dumps({"environment": facts, "results": results}, indent=2))


def run(servers: Sequence[str], plan: Plan, *, cores: Cores, data: Path) -> report.Results:
    results: report.Results = {server: {variant: [] for variant in VARIANTS} for server in servers}
    started = time.monotonic()
    for number in range(plan.rounds):
        # Another one begins each time: none is always measured right after the same neighbour.
        shift = number % len(VARIANTS)
        order = VARIANTS[shift:] + VARIANTS[:shift]
        for server in servers:
            for variant in order:
                figures = measure(server, variant, plan, cores=cores, data=data)
                results[server][variant].append(figures)
                gc.collect()
        _say_round(number + 1, plan.rounds, results, time.monotonic() - started)
    return results


def _say_round(number: int, rounds: int, results: report.Results, seconds: float) -> None:
    parts = []
    for server, variants in results.items():
        shown = [f"{variants[name][-1]['cpu_per_message']:,.0f}" for name in VARIANTS]
        parts.append(f"{server} {' / '.join(shown)} us")
    names = " / ".join(VARIANTS)
    print(f"round {number} of {rounds}, {seconds:.0f} s: CPU per message, {names}: "
          f"{'; '.join(parts)}", file=sys.stderr, flush=True)  # fmt: skip


def _allow_files(count: int) -> None:
    """The crowd needs more sockets than some systems allow by default; servers inherit this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()

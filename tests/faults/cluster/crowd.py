"""
A program beside the workers whose threads all tell one session something at once.

``python -m tests.faults.cluster.crowd SESSION HOW FIRST``: ``threads`` (32 of them, 50 calls each,
as a management command or a task queue with a pool of threads has them), ``fork`` (two children,
after calls of the parent's) or ``loops`` (an event loop for each call, one after another and in
threads). Events are numbered from FIRST. Writes the number of each call that the owner or its store
was too busy for, and fails if one raised anything else.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import django

# Before anything that imports models.
django.setup()

from chatsessions import (  # noqa: E402
    OwnerUnreachable,
    StoreUnavailable,
    aemit_to,
    emit_to,
    session_context,
    user_session,
)

from .long_run import LONG  # noqa: E402

THREADS = 32
#: Calls of each thread; a tenth of them where the run is one of everyday.
CALLS = 50 if LONG else 5


def tell(session: str, number: int) -> None:
    """Every tenth by a block, the others by an event."""
    if number % 10:
        emit_to(session, "note", number)
    else:
        with session_context(session) as context:
            user_session[f"key {number}"] = number
            context.emitter.emit("note", number)


def tell_in_a_loop(session: str, number: int) -> None:
    asyncio.run(aemit_to(session, "note", number))


def at_once(
    session: str, numbers: range, *, threads: int = THREADS, how: Callable[[str, int], None] = tell
) -> list[str]:
    """Do it for all ``numbers``; what was raised that is no word of a busy machine."""

    def call(number: int) -> str:
        try:
            how(session, number)
        except (OwnerUnreachable, StoreUnavailable):
            sys.stdout.write(f"{number}\n")
        except BaseException as error:
            return repr(error)
        return ""

    with ThreadPoolExecutor(threads) as pool:
        return [said for said in pool.map(call, numbers) if said]


def in_children(session: str, first: int) -> list[str]:
    """This process has used sessions; its children do so, too, and it goes on."""
    failed = at_once(session, range(first, first + 20), threads=4)
    children = []
    sys.stdout.flush()
    for start in (first + 20, first + 40):
        pid = os.fork()
        if pid == 0:
            failed = at_once(session, range(start, start + 20), threads=4)
            sys.stdout.flush()
            os._exit(len(failed))
        children.append(pid)
    failed += at_once(session, range(first + 60, first + 80), threads=4)
    return failed + [f"child {pid}: {code}" for pid in children if (code := os.waitpid(pid, 0)[1])]


def main(session: str, how: str, first: int) -> list[str]:
    if how == "fork":
        return in_children(session, first)
    if how == "loops":
        failed = at_once(session, range(first, first + 10), threads=1, how=tell_in_a_loop)
        rest = range(first + 10, first + 50)
        return failed + at_once(session, rest, threads=8, how=tell_in_a_loop)
    return at_once(session, range(first, first + THREADS * CALLS))


if __name__ == "__main__":
    raised = main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stderr.write("\n".join(raised))
    sys.exit(bool(raised))

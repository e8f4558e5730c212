"""
One server process: ``python -m benchmarks.server daphne``, started by :mod:`benchmarks.process`.

It prints ``port <n>`` when it listens. It answers ``gc`` on its standard input by ``rss <bytes>``,
measured after a garbage collection. With ``--profile``, SIGUSR1 starts profiling, SIGUSR2 stops it,
and ``dump <folder>`` writes the profiles. The process ends at the end of its input, so that none is
left running when the client dies.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import os
import signal
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import psutil

#: With Daphne's default of 50, a crowd would wait for TCP to repeat its attempts to connect.
BACKLOG = 2048
HOST = "127.0.0.1"


class Profiler:
    """
    One ``cProfile`` for the event loop's thread, and one for each other thread.

    On Python 3.12 and later the first one sees all threads, and is the only one.
    """

    def __init__(self) -> None:
        self._loop = cProfile.Profile()
        self._threads: list[cProfile.Profile] = []
        self._running = False

    def install(self) -> None:
        """
        Start profiling at SIGUSR1, and stop it at SIGUSR2.

        Handlers of signals run in the main thread, which is also that of the event loop.
        """
        signal.signal(signal.SIGUSR1, self._start)
        signal.signal(signal.SIGUSR2, self._stop)
        if sys.version_info < (3, 12):
            threading.setprofile(self._in_thread)

    def _start(self, *_: object) -> None:
        self._running = True
        self._loop.enable()

    def _stop(self, *_: object) -> None:
        self._running = False
        self._loop.disable()

    def _in_thread(self, _frame: FrameType, _event: str, _argument: Any) -> None:
        """
        Profile the thread once profiling has started.

        Each thread calls this for every call until then, and never again after that.
        """
        if self._running:
            profile = cProfile.Profile()
            self._threads.append(profile)
            profile.enable()

    def dump(self, folder: Path) -> None:
        """Write ``loop.prof`` and, where there are other threads, ``thread-<n>.prof``."""
        self._loop.dump_stats(folder / "loop.prof")
        for number, profile in enumerate(self._threads):
            profile.dump_stats(folder / f"thread-{number}.prof")


def serve_daphne(application: Any) -> None:
    from daphne.server import Server

    server: Any = Server(
        application,
        endpoints=[f"tcp:port=0:interface={HOST}:backlog={BACKLOG}"],
        ready_callable=lambda: tell(f"port {server.listening_addresses[0][1]}"),
    )
    server.run()


def serve_uvicorn(
    application: Any, loop: Literal["asyncio", "uvloop"], http: Literal["h11", "httptools"]
) -> None:
    import uvicorn

    # Pass host and port, not a socket, as the command line does with one worker: asyncio sets
    # TCP_NODELAY only on connections of listeners that it made itself.
    config = uvicorn.Config(
        application,
        host=HOST,
        port=0,
        log_level="warning",
        access_log=False,
        lifespan="off",
        backlog=BACKLOG,
        loop=loop,
        http=http,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            tell(f"port {self.servers[0].sockets[0].getsockname()[1]}")

    Server(config).run()


SERVERS = {
    "daphne": serve_daphne,
    "uvicorn": partial(serve_uvicorn, loop="asyncio", http="h11"),
    "uvicorn[standard]": partial(serve_uvicorn, loop="uvloop", http="httptools"),
}


def tell(line: str) -> None:
    print(line, flush=True)


def obey(profiler: Profiler) -> None:
    """Obey the commands on standard input, in a thread of its own that is not profiled."""
    sys.setprofile(None)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "gc":
            gc.collect()
            tell(f"rss {psutil.Process().memory_info().rss}")
        elif command == "dump":
            profiler.dump(Path(argument))
            tell("dumped")
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(description="One server process of the benchmark.")
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("--core", type=int, help="the core to run on")
    parser.add_argument("--profile", action="store_true", help="profile from SIGUSR1 to SIGUSR2")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    profiler = Profiler()
    threading.Thread(target=obey, args=[profiler], daemon=True).start()
    if options.profile:
        profiler.install()
    if options.server == "daphne":
        # This installs the asyncio reactor, so it has to precede any other import of Twisted.
        import daphne.server  # noqa: F401
    from benchmarks.asgi import application

    SERVERS[options.server](application)


if __name__ == "__main__":
    main()

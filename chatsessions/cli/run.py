"""
``chatsessions run``: serve bots without a project.

Prepare a small Django project (``chatsessions.cli.project``) and serve it with uvicorn. The project
reads its part of the command line from environment variables, which every server process inherits.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
import webbrowser
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError

from . import CommandFailed
from .bots import VARIABLE, BotName, parse_bots
from .data import administrator, locked, make_folder, migrate, note_address

SETTINGS = "chatsessions.cli.project.settings"
APPLICATION = "chatsessions.cli.project.asgi:application"
FIRST_PORT = 8000
LAST_PORT = 65535
#: Seconds that connections may take to close on Ctrl-C.
GOODBYE = 1
#: Guesses about the process that has a port, by the name in its ``Server`` header.
SERVERS = {
    "uvicorn": ", perhaps another chatsessions run",
    "daphne": ", perhaps a runserver",
    "WSGIServer": ", perhaps a runserver",
}
#: How long to wait for the server before opening a browser, in seconds.
PATIENCE = 30


def run(options: argparse.Namespace) -> int:
    """Serve the bots of the command line until stopped. Raises ``CommandFailed`` if that fails."""
    if options.show_settings:
        sys.stdout.write((Path(__file__).parent / "project" / "settings.py").read_text("utf-8"))
        return 0
    bots = parse_bots(options.bots)
    _check_options(options)
    folder: Path = options.data or bots[0].folder / ".chatsessions"
    make_folder(folder)
    with locked(folder):
        port = _free_port(options.host, options.port)
        address = _address(options, port)
        note_address(folder, address)
        _set_environment(options, bots, folder)
        _prepare(options, folder, address)
        if not options.headless:
            _open_browser(options.host, port, address)
        return _serve(options, bots, port)


def _check_options(options: argparse.Namespace) -> None:
    for package in ("uvicorn", "websockets", "watchfiles"):
        if find_spec(package) is None:
            raise CommandFailed(
                f"{package} is not installed. Install what this command needs: "
                'pip install "chatsessions[run]"'
            )
    if options.workers > 1:
        missing = [name for name in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(name)]
        if missing:
            raise CommandFailed(
                f"Several workers share a database and a Redis: set {' and '.join(missing)}, "
                "such as DATABASE_URL=postgresql://user:password@127.0.0.1:5432/name and "
                "REDIS_URL=redis://127.0.0.1:6379/0, or leave --workers out."
            )
        if options.watch:
            raise CommandFailed("--watch serves with one worker: leave out --workers, or --watch.")
    if options.ssl_keyfile and not options.ssl_certfile:
        raise CommandFailed("--ssl-keyfile goes with --ssl-certfile.")
    for path in filter(None, (options.ssl_certfile, options.ssl_keyfile)):
        if not path.is_file():
            raise CommandFailed(f"There is no file {path}.")
    if options.ssl_certfile:
        _check_certificate(options.ssl_certfile, options.ssl_keyfile)
    if options.root_path and not options.root_path.startswith("/"):
        raise CommandFailed(f"--root-path {options.root_path!r} has to begin with a slash.")


def _check_certificate(certificate: Path, key: Path | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        both = f"{certificate} and {key} are" if key else f"{certificate} alone is"
        raise CommandFailed(
            f"{both} not a certificate and its key, in PEM: {error.strerror or error}. The key is "
            "in the same file, or in that of --ssl-keyfile."
        ) from error


# The port


def _free_port(host: str, wanted: int | None) -> int:
    """Return a free port, ``wanted`` if possible. Raises ``CommandFailed`` if there is none."""
    port = wanted or FIRST_PORT
    error = _error_of(host, port)
    if error is None:
        return port
    if error.errno != errno.EADDRINUSE:
        raise CommandFailed(f"Cannot listen on {host}:{port}: {error.strerror or error}.")
    taken = f"Port {port} is taken: {_who_answers(host, port)}."
    nearby = range(port + 1, min(port + 100, LAST_PORT + 1))
    following = next((other for other in nearby if _error_of(host, other) is None), None)
    if following is None:
        raise CommandFailed(f"{taken} So are those after it; choose one with --port.")
    if sys.stdin.isatty() and sys.stdout.isatty():
        answer = input(f"{taken} Use {following} instead? [Y/n] ")
        if answer.strip().lower() in ("", "y", "yes"):
            return following
    raise CommandFailed(f"{taken} The next free one is --port {following}.")


def _error_of(host: str, port: int) -> OSError | None:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            return None
    except OSError as error:
        return error


def _who_answers(host: str, port: int) -> str:
    """Describe what answers at a port that is taken."""
    try:
        with closing(HTTPConnection(_reachable(host), port, timeout=1)) as line:
            line.request("HEAD", "/")
            server = line.getresponse().headers["Server"]
    except HTTPException:
        server = None
    except OSError:
        return "something listens there that does not speak HTTP"
    if server is None:
        return "something answers there"
    known = (guess for name, guess in SERVERS.items() if server.startswith(name))
    return f"a web server ({server}) answers there{next(known, '')}"


def _reachable(host: str) -> str:
    """Return the address by which this machine reaches a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def _address(options: argparse.Namespace, port: int) -> str:
    host = _reachable(options.host)
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if options.ssl_certfile else "http"
    return f"{scheme}://{host}:{port}{options.root_path.rstrip('/')}"


# The project


def _set_environment(options: argparse.Namespace, bots: list[BotName], folder: Path) -> None:
    names = [
        f"{bot.file or bot.module}{':' if bot.attribute else ''}{bot.attribute}" for bot in bots
    ]
    local = _is_loopback(options.host)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        VARIABLE: json.dumps(names),
        "CHATSESSIONS_DATA": str(folder.resolve()),
        "CHATSESSIONS_ROOT_PATH": options.root_path.rstrip("/"),
        "CHATSESSIONS_DEBUG": "1" if options.debug else "0",
        "CHATSESSIONS_ADMIN": "0" if options.no_admin else "1",
        "CHATSESSIONS_WATCH": "1" if options.watch else "0",
        # Only users of this machine may see a traceback.
        "CHATSESSIONS_SHOW_PROBLEMS": "1" if local or options.debug else "0",
    }
    if not local and "DJANGO_ALLOWED_HOSTS" not in os.environ:
        os.environ["DJANGO_ALLOWED_HOSTS"] = ",".join(_hosts(options.host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(host: str) -> list[str]:
    """Return the host names of a server that listens on ``host``."""
    names = ["localhost", "127.0.0.1", "::1"]
    if host not in ("0.0.0.0", "::"):  # noqa: S104
        names.append(host)
    else:
        names.append(own := socket.gethostname())
        with suppress(OSError):
            names += sorted(str(info[4][0]) for info in socket.getaddrinfo(own, None))
    return [f"[{name}]" if ":" in name else name for name in dict.fromkeys(names)]


def _prepare(options: argparse.Namespace, folder: Path, address: str) -> None:
    """Migrate, make the administrator, and print where everything is."""
    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise CommandFailed(str(error)) from error
    try:
        copied = migrate(folder)
        login = None if options.no_admin else administrator(new_password=options.new_password)
    except DatabaseError as error:  # no rights, no database in the file, nobody answers
        raise CommandFailed(f"The database cannot be used: {error}") from error
    lines = ["", f"  Chat    {address}/"]
    if login is not None:
        lines.append(f"  Admin   {address}/admin/   {login}")
    if not _is_loopback(options.host):
        hosts = os.environ["DJANGO_ALLOWED_HOSTS"].replace(",", ", ")
        lines.append(f"  Reached as {hosts}; for other names set DJANGO_ALLOWED_HOSTS.")
    if copied is not None:
        lines.append(f"  The database was of an earlier version; {copied} is a copy of it.")
    lines.append(f"  Stop with Ctrl-C. Conversations are kept in {folder}")
    sys.stdout.write("\n".join([*lines, "", ""]))
    # The output may be a pipe, whose reader waits for these lines.
    sys.stdout.flush()


# The server


def _serve(options: argparse.Namespace, bots: list[BotName], port: int) -> int:
    import uvicorn

    given: dict[str, Any] = {}
    if options.watch:
        folders = {bot.folder for bot in bots}
        # Packages that are installed into an environment are not the bot's.
        environments = (file.parent for one in folders for file in one.glob("*/pyvenv.cfg"))
        given = {
            "reload": True,
            "reload_dirs": sorted(map(str, folders)),
            "reload_excludes": sorted(map(str, environments)),
        }
    # uvicorn raises the signal again that stopped it; this turns SIGTERM into KeyboardInterrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    uvicorn.run(
        APPLICATION,
        host=options.host,
        port=port,
        workers=options.workers,  # without it uvicorn reads WEB_CONCURRENCY
        log_level="debug" if options.debug else "warning",
        timeout_graceful_shutdown=GOODBYE,
        # Compression costs 36 KiB per connection and a third more CPU; frames are small.
        ws_per_message_deflate=False,
        ssl_certfile=options.ssl_certfile,
        ssl_keyfile=options.ssl_keyfile,
        **given,
    )
    return 0


def _open_browser(host: str, port: int, address: str) -> None:
    def wait_and_open() -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                socket.create_connection((_reachable(host), port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                webbrowser.open(f"{address}/")
                return

    threading.Thread(target=wait_and_open, daemon=True, name="open-browser").start()

"""``chatsessions run`` as a process: started in an empty folder, watched, stopped."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from http.cookiejar import CookieJar
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPSHandler, Request, build_opener, urlopen

from chatsessions.cli.main import main
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
#: How long a server may take to start, in seconds; a busy machine takes most of it.
PATIENCE = 90.0

COUNTER = """\
import chatsessions as cl


@cl.on_chat_start
async def start():
    cl.user_session.set("message_count", 0)
    await cl.Message(content="Hi! I'll count how many messages you send.").send()


@cl.on_message
async def handle(message: cl.Message):
    count = cl.user_session.get("message_count", 0) + 1
    cl.user_session.set("message_count", count)
    await cl.Message(content=f"You have sent {count} message(s)!").send()
"""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    found = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CHATSESSIONS_", "DJANGO_"))
        and name not in ("DATABASE_URL", "REDIS_URL")
    }
    return found | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | dict(extra or {})


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself, in this process."""
    said = [TextIOWrapper(BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2)]
    with chdir(cwd), redirect_stdout(said[0]), redirect_stderr(said[1]):
        try:
            code = main(arguments)
        except SystemExit as exit_:  # argparse's own
            code = int(exit_.code or 0)
    out, err = (one.buffer.getvalue().decode() for one in said)  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, code, out, err)


class Run:
    """A running ``chatsessions run``; ``program`` is the command's name."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        program: Sequence[Any] = (sys.executable, "-m", "chatsessions"),
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.program = program
        self.arguments = arguments
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None
        #: What knows its certificate, if it is behind TLS.
        self.trusted: ssl.SSLContext | None = None
        self._log = folder / "terminal.log"

    @property
    def origin(self) -> str:
        return f"http{'s' if self.trusted else ''}://127.0.0.1:{self.port}"

    def socket(self, slug: str, prefix: str = "") -> str:
        return f"{self.origin.replace('http', 'ws')}{prefix}/ws/{slug}/"

    def start(self, *, wait: bool = True) -> Self:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.program, "run", *self.arguments, "--headless", "--port", str(self.port)],
                cwd=self.folder,
                env=environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            self.until(lambda: self.get("/")[0] is not None, "the server does not answer")
        return self

    def terminal(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def get(self, path: str) -> tuple[int | None, str]:
        """Status and text of a page; None while nobody answers."""
        return self._answer(Request(f"{self.origin}{path}"))  # noqa: S310

    def _answer(self, request: Request) -> tuple[int | None, str]:
        try:
            with urlopen(request, timeout=PATIENCE, context=self.trusted) as response:  # noqa: S310
                return response.status, response.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except (URLError, OSError, http.client.HTTPException):
            return None, ""

    def post(self, path: str, data: object) -> tuple[int | None, str]:
        """Status and text of what answers JSON."""
        request = Request(  # noqa: S310
            f"{self.origin}{path}", json.dumps(data).encode(), {"Content-Type": "application/json"}
        )
        return self._answer(request)

    def until(self, fact: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not fact():
            assert self.process is not None
            ended = self.process.poll()
            assert ended is None, f"it ended with {ended}:\n{self.terminal()}"
            assert time.monotonic() < deadline, f"{problem}:\n{self.terminal()}"
            time.sleep(0.05)

    def interrupt(self) -> int:
        """Press Ctrl-C: every process of the terminal gets it. Return the exit code."""
        return self._end(signal.SIGINT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"it does not end:\n{self.terminal()}") from None

    def discard(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self._end(signal.SIGINT)

    @property
    def password(self) -> str:
        """The administrator's, as it was printed."""
        found = re.search(r"as admin with the password (\S+)", self.terminal())
        assert found is not None, self.terminal()
        return found[1]

    def log_in(self, password: str) -> tuple[str, str]:
        """Log in as the administrator; the cookie, and the page that comes then."""
        jar = CookieJar()
        browser = build_opener(HTTPCookieProcessor(jar), HTTPSHandler(context=self.trusted))
        address = f"{self.origin}/admin/login/?next=/admin/"
        browser.addheaders = [("Referer", address)]
        browser.open(address).read()
        cookies = {cookie.name: cookie.value for cookie in jar}
        form = {"username": "admin", "password": password}
        form["csrfmiddlewaretoken"] = str(cookies["csrftoken"])
        page: str = browser.open(address, urlencode(form).encode()).read().decode()
        cookies = {cookie.name: cookie.value for cookie in jar}
        return f"sessionid={cookies.get('sessionid')}", page

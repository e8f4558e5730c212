"""One server, a browser per module, a fresh context per test, and no complaints in any."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from tests import services
from tests.server.harness import Server, add_server_logs, running

from .chat import PATIENCE, Chat

APPLICATION = "tests.browser.app:application"
SETTINGS = {"ROOT_URLCONF": "tests.browser.urls", "ALLOWED_HOSTS": ["127.0.0.1", ".localhost"]}
#: One conversation at a time for who is logged in, and no patience with running turns at the end.
CHATSESSIONS = {"MAX_SESSIONS_PER_USER": 1, "SHUTDOWN_TIMEOUT": 0.5}

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: How long a page waits before it tries again is left to chance, except here: a tenth of the
#: longest, or what a test says.
CHANCE = "Math.random = () => window.chance ?? 0.1;"
#: What the browser itself says when a server is gone. Nothing else may be said.
LINE_IS_DOWN = re.compile(
    r"net::ERR_(CONNECTION_\w+|INTERNET_DISCONNECTED|EMPTY_RESPONSE)"
    r"|Connection closed before receiving a handshake response"
    # Of the line between a test's relay and the server, which the page does not see.
    r"|WebSocket is already in CLOSING or CLOSED state"
)
#: What it says of what a server refuses, and where that is tried: at files, and earlier messages.
REFUSED = re.compile(r"the server responded with a status of 4\d\d")
TAKEN_AT = re.compile(r"/files/$|/entries/\?")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    add_server_logs(report)
    return report


# The synchronous Playwright occupies this thread's event loop while it lives, which async tests
# and Django's ORM would notice: so it lives no longer than a module.
# Two browsers and their servers on two cores take their time.
expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without windows, where it is installed: a page of it takes a fifth of the time."""
    with launched("chromium-headless-shell", "chromium") as found:
        yield found


@contextmanager
def launched(*names: str) -> Iterator[Browser]:
    """Start the first of these browsers that is installed."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        say_so = pytest.fail if services.required() else pytest.skip
        say_so(f"chromium is not installed: {services.SERVICES['chromium']} cannot run")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    with demo_server() as found:
        yield found


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The demo, running. A test may do to it what it likes."""
    yield shared_server
    if not shared_server.is_running:
        shared_server.start()


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts the demo with settings of a test's own: ``start_server(HEARTBEAT=1)``."""
    with ExitStack() as stack:
        yield lambda **chatsessions: stack.enter_context(demo_server(**chatsessions))


def demo_server(**chatsessions: Any) -> Any:
    return running(
        application=APPLICATION, settings=SETTINGS, chatsessions=CHATSESSIONS | chatsessions
    )


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browsers without a past. A page that throws or complains fails the test."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning") or LINE_IS_DOWN.search(message.text):
            return
        if REFUSED.search(message.text) and TAKEN_AT.search(message.location["url"]):
            return
        if not message.location["url"].endswith("/favicon.ico"):
            complaints.append(message.text)

    def new_context(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.add_init_script(CHANCE)
        context.on("console", listen)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        contexts.append(context)
        return context

    yield new_context
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    return new_context()


NO_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { value: null });"


@pytest.fixture
def without_tls(context: BrowserContext) -> None:
    """Without locks, so that a duplicate of a tab has the session of the first."""
    context.add_init_script(NO_LOCKS)


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def open_chat(server: Server, context: BrowserContext) -> Callable[..., Chat]:
    """Opens a bot's page in a new tab: ``open_chat("counter")``, or any ``path``."""

    def open_chat(bot: str = "", *, path: str = "") -> Chat:
        tab = context.new_page()
        tab.goto(f"{server.origin}{path or f'/chat/{bot}/'}")
        return Chat(tab)

    return open_chat

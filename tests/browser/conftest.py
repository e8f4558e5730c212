"""One server, one browser, a fresh context per test, and no complaints in any."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from tests import services
from tests.server.conftest import pytest_runtest_makereport
from tests.server.harness import Server, running

from .chat import PATIENCE, Chat

__all__ = ["pytest_runtest_makereport"]

APPLICATION = "tests.browser.app:application"
SETTINGS = {"ROOT_URLCONF": "tests.browser.urls", "ALLOWED_HOSTS": ["127.0.0.1", ".localhost"]}
#: One conversation at a time for who is logged in, and no patience with running turns at the end.
CHATSESSIONS = {"MAX_SESSIONS_PER_USER": 1, "SHUTDOWN_TIMEOUT": 0.5}

PASSWORD = "for the tests"

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


# Two browsers and their servers on two cores take their time.
expect.set_options(timeout=PATIENCE * 1000)


@contextmanager
def running_loop(loop: asyncio.AbstractEventLoop | None) -> Iterator[None]:
    """Have code of this thread see ``loop`` as the event loop that runs, or None."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)


@dataclass
class Browsers:
    """Those that are started. The loop of Playwright occupies this thread while it lives."""

    playwright: Playwright
    loop: asyncio.AbstractEventLoop
    stack: ExitStack
    started: dict[Path, Browser] = field(default_factory=dict)

    @contextmanager
    def launched(self, *names: str) -> Iterator[Browser]:
        """The first of these that is installed. In the block it is usable, and no other loop is."""
        path = next(filter(None, map(services.find, names)), None)
        if path is None:
            services.need("chromium")
        with running_loop(self.loop):
            if path not in self.started or not self.started[path].is_connected():
                browser = self.playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
                self.started[path] = self.stack.enter_context(browser)
            yield self.started[path]


@pytest.fixture(scope="session")
def browsers() -> Iterator[Browsers]:
    """Between the tests that use them async tests have loops of their own."""
    with sync_playwright() as playwright, ExitStack() as stack:
        found = Browsers(playwright, asyncio.get_running_loop(), stack)
        with running_loop(None):
            yield found


@pytest.fixture
def browser(browsers: Browsers) -> Iterator[Browser]:
    """Chromium without windows, where it is installed: a page of it takes a fifth of the time."""
    with browsers.launched("chromium-headless-shell", "chromium") as found:
        yield found


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


def log_in(server: Server, context: BrowserContext) -> str:
    """From now on this browser is somebody's who is new."""
    name = f"user-{uuid4().hex[:8]}"
    key, value = server.login(name).split("=")
    context.add_cookies([{"name": key, "value": value, "url": server.origin}])
    return name


def add_staff(server: Server) -> str:
    """Make somebody who may log in to the admin, with ``PASSWORD``, and do everything there."""
    user = User(username=f"user-{uuid4().hex[:8]}")
    user.set_password(PASSWORD)
    server.database.add_user(user)
    server.database.execute(
        "UPDATE auth_user SET is_staff = 1, is_superuser = 1 WHERE username = ?", user.username
    )
    return user.username


def log_in_by_form(page: Page, name: str) -> None:
    """On the login page of the admin, in any language."""
    page.locator("#id_username").fill(name)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#login-form [type=submit]").click()


@pytest.fixture
def open_chat(server: Server, context: BrowserContext) -> Callable[..., Chat]:
    """Opens a bot's page in a new tab: ``open_chat("counter")``, or any ``path``."""

    def open_chat(bot: str = "", *, path: str = "") -> Chat:
        return Chat.at(context.new_page(), f"{server.origin}{path or f'/chat/{bot}/'}")

    return open_chat

"""
The documentation is true: its code runs, its commands work, its tables are complete.

Each Python block of the README and of ``docs/`` is executed. Those of the README and the tutorial
become files of a new project in an empty folder, next to the commands of the page, and a server
that is started there is talked to. Those of the other pages are one module per page; what the
page says of them is then tried in a conversation. A block under ``<!-- no-run: why -->`` is left
out.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import functools
import html
import importlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import types
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from io import StringIO
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode
from uuid import UUID

import django
import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.core.cache import cache
from django.core.management import call_command, load_command_class
from django.dispatch import Signal
from django.test import AsyncClient, RequestFactory, override_settings
from django.urls import path
from websockets.exceptions import InvalidStatus

import chatsessions
from chatsessions import (
    Chat,
    ContextNotFound,
    InterruptedTurn,
    Message,
    checks,
    session_context,
    signals,
    user_session,
)
from chatsessions.conf import Settings, settings
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.session import Session
from chatsessions.handlers.user_session import RESERVED
from chatsessions.input_widget import Input
from chatsessions.models import ChatSession, ChatSessionQuerySet
from chatsessions.protocol import frames
from chatsessions.storage.serializer import dumps, loads
from chatsessions.testing import ChatCommunicator, ChatRefused, shut_down_worker

from . import services
from .server.client import Client
from .support.communicator import Communicator
from .support.process import Process
from .support.sessions import until

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = {"README": README, **{path.stem: path for path in sorted(DOCS.glob("*.md"))}}

#: Pages whose Python blocks are files of a project rather than parts of one module.
PROJECT_PAGES = ("README", "jobs", "project", "tutorial")
#: Commands that a test does not repeat: they make the environment that it runs in.
ENVIRONMENT = ("python3 -m venv .venv", "source .venv/bin/activate", "pip install ")
#: Commands that go on until they are stopped; tests that want them start them.
SERVERS = ("python manage.py runserver", "python manage.py db_worker", "celery ", "chatsessions ")
#: What a process may take to start, or a frame to come, in seconds.
PATIENCE = 90.0
PASSWORD = "only-for-the-tests"


# Reading pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    language: str
    code: str
    #: The line of the page that its first line is.
    line: int
    #: Why it is not to be run.
    no_run: str = ""

    @property
    def file(self) -> tuple[str, bool] | None:
        """The file that it says it is, and whether it belongs at the end of it."""
        first = self.code.split("\n", 1)[0]
        found = re.fullmatch(r"(?:#|<!--) ((?:\w+/)*\w+\.\w+)(, at the end)?(?: -->)?", first)
        return None if found is None else (found[1], found[2] is not None)


_FENCE = re.compile(
    r"^(?:<!-- no-run: (?P<why>.+?) -->\n)?```(?P<language>[\w{}-]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@functools.cache
def blocks(page: str) -> tuple[Block, ...]:
    text = PAGES[page].read_text()
    return tuple(
        Block(
            language=found["language"],
            code=found["code"],
            line=text.count("\n", 0, found.start("code")) + 1,
            no_run=found["why"] or "",
        )
        for found in _FENCE.finditer(text)
    )


def python_blocks(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python" and not block.no_run]


def heading_of(page: str, block: Block) -> str:
    """The heading of the section that a block is in."""
    before = PAGES[page].read_text().splitlines()[: block.line - 1]
    return next((one[3:] for one in reversed(before) if one.startswith("## ")), "")


def project_tests(page: str) -> list[Block]:
    """Blocks that belong into a project's folder, and are nothing without it."""
    return [one for one in python_blocks(page) if one.file and one.file[0].endswith("/tests.py")]


def table(page: str, heading: str, *, after: str = "") -> list[list[str]]:
    """The cells of the first table under ``heading``, and after a text there, without its head."""
    text = "\n" + PAGES[page].read_text()
    section = text[text.index(f"\n{heading}\n") :]
    lines = section[section.index(after) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def code_spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# The blocks of a page as one module


@functools.cache
def page_module(page: str) -> types.ModuleType:
    """The module that the blocks of ``page`` make, one after another."""
    module = types.ModuleType(f"documentation_{page.replace('-', '_')}")
    module.__file__ = str(PAGES[page])
    sys.modules[module.__name__] = module
    with _receivers_kept():
        for block in python_blocks(page):
            if block in project_tests(page):
                continue
            # As many lines ahead as on the page, so that a traceback names the line there.
            source = "\n" * (block.line - 1) + block.code
            exec(compile(source, module.__file__, "exec"), module.__dict__)  # noqa: S102
    return module


@contextmanager
def _receivers_kept() -> Iterator[None]:
    """Receivers that a page connects are not to hear what other tests do."""
    known = [user_logged_out, *(one for one in vars(signals).values() if isinstance(one, Signal))]
    before = [list(one.receivers) for one in known]
    try:
        yield
    finally:
        for one, receivers in zip(known, before, strict=True):
            one.receivers = receivers
            one.sender_receivers_cache.clear()


@pytest.mark.parametrize("page", [page for page in PAGES if page not in PROJECT_PAGES])
def test_the_code_of_a_page_runs(page: str) -> None:
    page_module(page)


@pytest.mark.parametrize("page", PROJECT_PAGES)
def test_the_code_of_a_project_page_says_which_file_it_is(page: str) -> None:
    for block in python_blocks(page):
        assert block.file is not None, f"{PAGES[page]}:{block.line}"


def test_hardly_any_code_is_left_out() -> None:
    left_out = [block for page in PAGES for block in blocks(page) if block.no_run]
    assert len(left_out) <= 5
    known = {"python", "pycon", "console", "text", "html", "js", "nginx", "ini", "toml"}
    known |= {"{toctree}", "{eval-rst}"}
    assert {block.language for page in PAGES for block in blocks(page)} <= known


# A project, as the README and the tutorial make it


@dataclass(slots=True)
class Project:
    """A project in a folder, made by following a page."""

    folder: Path
    files: list[str] = field(default_factory=list)
    #: Environment variables of its own.
    env: dict[str, str] = field(default_factory=dict)
    #: What is written otherwise than on the page.
    replaced: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT") if key in os.environ}
        return inherited | {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SUPERUSER_USERNAME": "ada",
            "DJANGO_SUPERUSER_EMAIL": "ada@example.com",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            **self.env,
        }

    def follow(self, page: str, *, before: str = "", sections: Sequence[str] = ()) -> None:
        """
        Write the files and run the commands of ``page``, in order, until the server starts.

        With ``sections`` only those under these headings.
        """
        for block in blocks(page):
            if sections and heading_of(page, block) not in sections:
                continue
            if block.language == "console":
                self._type(block.code, skip=before)
            elif block.language in ("python", "html") and block.file is not None:
                name, at_the_end = block.file
                self.write(name, block.code, at_the_end=at_the_end)

    def write(self, name: str, code: str, *, at_the_end: bool) -> None:
        # The bot of "chatsessions run", which the README then has in a project.
        path = self.folder / (name if "/" in name else f"bots/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files.append(name)
        for written, other in self.replaced.items():
            code = code.replace(written, other)
        path.write_text((path.read_text() + "\n" if at_the_end else "") + code)

    def _type(self, block: str, *, skip: str) -> None:
        for entered in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = entered.partition("\n")
            if command.startswith(ENVIRONMENT) or (skip and command.startswith(skip)):
                continue
            if command.startswith(SERVERS):
                continue
            if command.startswith("mkdir "):
                (self.folder / command.removeprefix("mkdir ")).mkdir()
            elif command.startswith("cd "):
                self.folder = self.folder / command.removeprefix("cd ")
            else:
                assert expected.strip() in self.run(command)

    def run(self, command: str, *, patience: float = PATIENCE) -> str:
        """What a command prints. One that asks questions gets its answers from the environment."""
        words = command.split()
        if words[0] == "django-admin":
            words[:1] = ["python", "-m", "django"]
        if words[-1] == "createsuperuser":
            words.append("--noinput")
        assert words[0] == "python", command
        return self.python(*words[1:], patience=patience)

    def python(self, *arguments: str, patience: float = PATIENCE) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def served(self, *, stop: signal.Signals = signal.SIGINT) -> Iterator[str]:
        """The address of ``manage.py runserver``, which is sent ``stop`` afterwards."""
        server = Process(self.folder)
        address = f"127.0.0.1:{server.port}"
        with self._running(server, "manage.py", "runserver", "--noreload", address, stop=stop):
            server.wait_until_ready()
            yield address

    @contextmanager
    def beside(self, command: str) -> Iterator[None]:
        """A process of the project, such as a queue's worker, that runs during the block."""
        program, *arguments = command.split()
        module = [] if program == "python" else ["-m", program]
        with self._running(Process(self.folder, log="worker.log"), *module, *arguments):
            yield

    @contextmanager
    def _running(
        self, process: Process, *arguments: str, stop: signal.Signals = signal.SIGTERM
    ) -> Iterator[None]:
        process.run([sys.executable, *arguments], cwd=self.folder, env=self.environment)
        try:
            yield
        finally:
            process.send_signal(stop)
            process.wait(PATIENCE)


# Talking to a server


def tab_of(address: str, *, chat: str = "counter") -> Client:
    return Client(f"ws://{address}/ws/{chat}/", f"http://{address}")


async def answer_to(tab: Client, text: str) -> str:
    """Send a message, and return what the bot has said by the end of its turn."""
    assert await tab.outcome(await tab.message(text)) == "done"
    return tab.contents[-1]


class Browser:
    """Fetches pages, and keeps its cookies."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )

    async def get(self, path: str, **form: str) -> str:
        return await asyncio.to_thread(self._get, path, form)

    def _get(self, path: str, form: dict[str, str]) -> str:
        data = urlencode(form).encode() if form else None
        with self._opener.open(f"http://{self.address}{path}", data, PATIENCE) as response:
            text: str = response.read().decode()
        return text

    async def log_in(self) -> None:
        await self.get("/admin/login/")
        csrf = next(str(cookie.value) for cookie in self.jar if cookie.name == "csrftoken")
        form = {"username": "ada", "password": PASSWORD, "csrfmiddlewaretoken": csrf}
        await self.get("/admin/login/?next=/admin/", **form)


@pytest.mark.slow
@pytest.mark.server
async def test_the_tutorial(tmp_path: Path) -> None:
    """Its counter does what the page says that one will see, and speaks the protocol."""
    tutorial = Project(tmp_path)
    tutorial.follow("tutorial")
    greeting, third = (
        block.code.strip() for block in blocks("tutorial") if block.language == "text"
    )
    with tutorial.served() as address:
        browser = Browser(address)
        page = await browser.get("/")
        assert re.search('<chat-session heading="Counter"[^>]* src="/ws/counter/">', page)
        script = re.search(r'src="(/static/[^"]+)"', page)
        assert script is not None
        assert "chat-session" in await browser.get(script[1])

        async with tab_of(address) as tab:
            await tab.start()
            assert tab.reason == "new"
            assert await tab.outcome(0) == "done"
            assert tab.contents == [greeting]
            assert [await answer_to(tab, text) for text in ("one", "two", "three")][-1] == third
        mine = {"session": tab.session, "token": tab.token}

        # Reload the page.
        async with tab_of(address) as tab, tab_of(address) as other:
            await tab.start(**mine)
            assert tab.resumed
            assert await answer_to(tab, "four") == "You have sent 4 message(s)!"
            assert tab.contents.count(greeting) == 1
            # Open a second tab.
            await other.start()
            assert await answer_to(other, "hello") == "You have sent 1 message(s)!"
            await _shell_shows(tutorial)

        # Look at it.
        await browser.log_in()
        assert mine["session"] in await browser.get("/admin/chatsessions/chatsession/")
        shown = await browser.get(f"/admin/chatsessions/chatsession/{mine['session']}/change/")
        assert "message_count" in html.unescape(shown)
        assert third in html.unescape(shown)

    # Stop the server, and start it again; then pull its plug.
    for count, stop in ((5, signal.SIGKILL), (6, signal.SIGINT)):
        with tutorial.served(stop=stop) as address:
            tab.url, tab.origin = tab_of(address).url, tab_of(address).origin
            await tab.start()
            assert tab.resumed
            assert await answer_to(tab, "more") == f"You have sent {count} message(s)!"
            await tab.close()
            if count == 5:
                await _small_client_talks(address)
    assert tab.problems == []


async def _small_client_talks(address: str) -> None:
    """That of the protocol's page."""
    talk = page_module("protocol").talk
    url, origin = f"ws://{address}/ws/counter/", f"http://{address}"
    async with asyncio.timeout(PATIENCE):
        said, (session, token) = await talk(url, origin, "one", "two")
    with pytest.raises(InvalidStatus, match="403"):
        await talk(url, "https://elsewhere.example", "one")
    assert said[-1] == "You have sent 2 message(s)!"
    assert UUID(session)
    assert token


async def _shell_shows(project: Project) -> None:
    """Enter what the page enters into a shell, and see what it sees."""
    [session] = [block.code for block in blocks("tutorial") if block.language == "pycon"]
    statements = [line.removeprefix(">>> ") for line in session.splitlines() if line[:4] == ">>> "]
    code = "\n".join([*statements[:-1], f"print({statements[-1]})"])
    printed = await asyncio.to_thread(project.python, "manage.py", "shell", "-c", code)
    assert printed.splitlines()[-1] == session.splitlines()[-1]


#: What nobody is told of on a page, in one process.
CHECKS = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
django.setup()
from django.core.management import call_command
call_command("check", tags=["chatsessions"])
call_command("makemigrations", check=True, dry_run=True)
"""


@pytest.mark.server
@pytest.mark.parametrize("page", ["README", pytest.param("project", marks=pytest.mark.slow)])
async def test_the_steps_into_a_project(page: str, tmp_path: Path) -> None:
    """With the three steps a project has the counter, and nothing to complain of."""
    project = Project(tmp_path)
    project.python("-m", "django", "startproject", "mysite", ".")
    headings = ("Your own project", "What `get_chat_application()` is", "A page of your own")
    project.follow(page, before="make ", sections=headings if page == "project" else ())
    said = project.python("-c", CHECKS)
    assert "no issues" in said
    assert "No changes" in said
    with project.served() as address:
        browser = Browser(address)
        shown = await browser.get("/")
        assert 'src="/ws/counter/"' in shown
        await browser.log_in()
        assert "Chat sessions" in await browser.get("/admin/")
        async with tab_of(address) as tab:
            await tab.start()
            assert await answer_to(tab, "hello") == "You have sent 1 message(s)!"
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        # Readers do not wait for commits, though no setting says so.
        assert database.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_the_readmes_steps_are_few() -> None:
    """Measured as a new user counts: commands to type, files to make, lines to write."""
    commands = [
        command
        for block in blocks("README")
        if block.language == "console"
        for command in re.findall(r"^\$ (.+)$", block.code, re.MULTILINE)
        if not command.startswith("make ")
    ]
    assert commands[:2] == ['pip install "chatsessions[run]"', "chatsessions run counter_bot.py -w"]
    assert len(commands[2:]) < 5
    steps = [b for b in blocks("README") if b.file is not None and b.file[0].startswith("mysite/")]
    lines = [line for block in steps for line in block.code.splitlines()[1:] if line.strip()]
    assert len(lines) < 15


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tutorial's project, with the setting that the page about testing wants."""
    project = Project(tmp_path_factory.mktemp("tested"))
    project.follow("tutorial")
    [setting] = set(re.findall(r"`(DATABASES\S+ = .+?)`", PAGES["testing"].read_text()))
    project.write("mysite/settings.py", setting, at_the_end=True)
    return project


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.browser
@pytest.mark.timeout(300)
def test_the_tests_with_a_browser_pass_in_the_tutorials_project(tested: Project) -> None:
    services.need("chromium")
    [block] = project_tests("testing")
    tested.write("bots/tests.py", block.code, at_the_end=False)
    printed = tested.run("python manage.py test", patience=6 * PATIENCE)
    assert f"Ran {block.code.count('def test_')} tests" in printed


TALKS = """
import asyncio
from channels.testing import ChannelsLiveServerTestCase
from django.db import connections
from .small_client import talk

class Talks(ChannelsLiveServerTestCase):
    @classmethod
    def setUpClass(cls):
        connections.close_all()
        super().setUpClass()

    def talk(self):
        url = f"{self.live_server_ws_url}/ws/counter/"
        said, _ = asyncio.run(talk(url, self.live_server_url, "one", "two"))
        self.assertEqual(said[-1], "You have sent 2 message(s)!")

    test_one = test_two = test_three = talk
"""


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.slow
def test_live_server_tests_in_a_row_refuse_nobody(tested: Project) -> None:
    """The tables are emptied between them, the server's own row among them, while it goes on."""
    [client] = [one for one in python_blocks("protocol") if "async def talk(" in one.code]
    tested.write("bots/small_client.py", client.code, at_the_end=False)
    tested.write("bots/tests.py", TALKS, at_the_end=False)
    assert "Ran 3 tests" in tested.run("python manage.py test", patience=6 * PATIENCE)


#: What the page about jobs says of Django 5.2.
TASKS_BEFORE_DJANGO_6 = {
    "from django.tasks": "from django_tasks",
    '["django_tasks_db"]': '["django_tasks", "django_tasks_db"]',
}


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("queue", ["With Celery", "With Django's tasks"])
async def test_a_job_in_another_process_answers_into_the_tab(
    queue: str, tmp_path: Path, redis_url: str
) -> None:
    replaced = TASKS_BEFORE_DJANGO_6 if django.VERSION < (6,) else {}
    project = Project(tmp_path, env={"REDIS_URL": redis_url}, replaced=replaced)
    project.python("-m", "django", "startproject", "mysite", ".")
    project.follow("jobs", sections=("The project", queue))
    [worker] = [
        block.code.removeprefix("$ ").strip()
        for block in blocks("jobs")
        if heading_of("jobs", block) == queue
        and block.code.removeprefix("$ ").startswith(("celery ", "python manage.py db_worker"))
    ]
    if "db_worker" in worker:
        worker += " --no-reload"  # as where DEBUG is off: one process
    with project.served() as address, project.beside(worker):
        async with tab_of(address, chat="reports") as tab:
            await tab.start()
            assert await answer_to(tab, "hats") == "Report 1 is in the queue."
            await tab.until({"type": "event", "name": "report", "data": {"state": "begun"}})
            assert (await tab.until({"type": "token"}))["text"] == "A "
            whole = await tab.until({"type": "event", "name": "message_update"})
            assert whole["data"]["content"] == "A report about hats. "
            await tab.until({"type": "event", "name": "report", "data": {"state": "finished"}})
            await tab.message("coats")
            await tab.said("Report 2 is in the queue.")


@pytest.mark.django_db(transaction=True)
def test_the_command_of_the_admin_page() -> None:
    [commands] = [
        re.findall(r"^\$ python manage.py clearchatsessions(.*)$", block.code, re.MULTILINE)
        for block in blocks("admin")
        if "clearchatsessions" in block.code
    ]
    printed = []
    for options in commands:
        call_command("clearchatsessions", *options.split(), stdout=(out := StringIO()))
        printed.append(out.getvalue().split()[0])
    assert printed == ["Would", "Ended"]
    usage = load_command_class("chatsessions", "clearchatsessions").create_parser("", "")
    for option, _meaning in table("admin", "## clearchatsessions"):
        assert code_spans(option)[0] in usage.format_help()


def test_the_readme_and_the_first_page_have_one_bot() -> None:
    first, second = (
        next(block.code for block in python_blocks(page)) for page in ("README", "start")
    )
    assert first == f"# counter_bot.py\n{second}"


#: The modules that the page about the API calls public, and what in them is for the package alone.
PUBLIC_MODULES: dict[str, set[str]] = {
    "asgi": {"AllowedHostsValidator"},
    "consumers": set(),
    "exceptions": set(),
    "input_widget": {"InputWidget", "check_inputs", "check_settings", "widgets_of"},
    "models": {"DatabaseNow", "JSONTextField", "ago"},
    "signals": set(),
    "testing": set(),
    "views": set(),
}


def test_the_api_page_has_every_public_name() -> None:
    text = PAGES["api"].read_text()
    named = set(re.findall(r"^\.\. [\w:]+:: chatsessions\.([\w.]+)", text, re.MULTILINE))
    public = {name for name in chatsessions.__all__ if name not in vars(chatsessions.exceptions)}
    for name, internal in PUBLIC_MODULES.items():
        if name == "exceptions":  # all of it, by one automodule
            continue
        module = importlib.import_module(f"chatsessions.{name}")
        own = {
            one
            for one, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__ or isinstance(value, Signal)
        }
        names = set(getattr(module, "__all__", own)) - internal
        public |= {f"{name}.{one}" for one in names if not one.startswith("_")}
    assert public <= named
    assert {one for one in named if one.split(".")[0] in PUBLIC_MODULES} - public == {
        "exceptions",
        "signals",
    }
    introduction = text[: text.index("\n## ")]
    assert {code.rpartition(".")[2] for code in code_spans(introduction)[1:]} == set(PUBLIC_MODULES)


def test_the_pages_import_from_public_modules_alone() -> None:
    imported = {
        module
        for page in PAGES
        for block in python_blocks(page)
        for module in re.findall(r"^from chatsessions\.([\w.]+) import", block.code, re.MULTILINE)
    }
    assert imported <= set(PUBLIC_MODULES)


def test_the_readme_names_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"^\$ make (\w+)$", README.read_text(), re.MULTILINE)
    assert named == ["demo", "test"]
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


# What the other pages say, tried

conversation = pytest.mark.django_db(transaction=True)


def visit(chat: Any, **options: Any) -> ChatCommunicator:
    """A tab that is connected to ``chat``."""
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", timeout=PATIENCE, **options)


async def ask(tab: ChatCommunicator, name: str, data: Any = None, *, status: str = "done") -> Any:
    """Send an event, and return the data of the last one that its turn has emitted."""
    await tab.send_event(name, data)
    assert await tab.wait_for_turn() == status
    return tab.events[-1].data


async def say(tab: ChatCommunicator, text: str) -> str:
    """Send a message, and return what the bot has said last."""
    await ask(tab, "message", {"content": text})
    return tab.messages[-1].content


@conversation
async def test_what_concepts_says_of_user_session() -> None:
    page = page_module("concepts")
    async with visit(page.chat) as tab:
        assert await say(tab, "a pen") == "1 thing(s) in your cart."
        assert await say(tab, "ink") == "2 thing(s) in your cart."
        assert [(await ask(tab, "visit"))["content"] for _ in range(2)] == ["Visit 1", "Visit 2"]
        async with session_context(tab.session_id) as found:
            assert user_session["cart"] == ["a pen", "ink"]
            assert page.keep(object()).startswith("client is a builtins.object, which cannot be")
            assert user_session.local["shop"].language == found.session.language
            pool = user_session.local["pool"]
            user_session["order"] = page.Order(1, items=["ink"])
        assert (await ask(tab, "query"))["content"] == "Asked by a connection."
        assert pool.is_open
        row = await ChatSession.objects.aget(pk=tab.session_id)
        assert loads(row.state)["order"] == page.Order(1, items=["ink"])
    await until(lambda: not pool.is_open)
    order = page.Order(7, items=["pen"])
    assert loads(dumps(order)) == order
    assert b'"shop.Order"' in dumps(order)


@conversation
async def test_what_concepts_says_of_the_context() -> None:
    page = page_module("concepts")
    with pytest.raises(ContextNotFound, match=r"bind_context.*session_context"):
        user_session["cart"]
    async with visit(page.chat) as tab:
        await ask(tab, "remind", {"seconds": 0.01})
        said = {(await tab.receive_message()).content for _ in range(2)}
        assert said == {"I will.", "You wanted to be reminded."}
        assert (await ask(tab, "digest", {"text": "loud"}))["content"] == "LOUD"
        await tab.receive_message()
        await page.order_delayed(tab.session_id)
        assert (await tab.receive_event("delayed")).data == {"days": 2}
        request = RequestFactory().get("/")
        response = await asyncio.to_thread(page.order_shipped, request, tab.session_id)
        assert response.status_code == 204
        assert (await tab.receive_message()).content == "Your order is on its way."
    page.pool.shutdown()


@conversation
async def test_what_concepts_says_of_logging_out() -> None:
    page = page_module("concepts")
    ada = await get_user_model().objects.acreate_user("ada")
    async with visit(page.chat, user=ada) as tab, visit(page.chat) as other:
        await asyncio.to_thread(page.end_chats, ada)
        await asyncio.to_thread(page.end_chats, None)
        await tab.wait_until(lambda: tab.ended)
        assert tab.ended == "logout"
        assert await say(other, "a pen") == "1 thing(s) in your cart."


@conversation
async def test_what_threads_says() -> None:
    page = page_module("threads")
    ada = await get_user_model().objects.acreate_user("ada")
    async with visit(page.chat, user=ada) as tab:
        await tab.receive_message()
        await ask(tab, "topic", "ink")
        assert await say(tab, "a pen") == "I have read 2 message(s)."
        async with session_context(tab.session_id):
            thread = user_session["thread_id"]
    async with visit(page.chat, user=ada, thread=thread) as tab:
        last = "I have read 2 message(s)."
        greeting = await tab.receive_message()
        assert greeting.content == f"Welcome back to 'a pen'. I said last: {last}"
        assert await say(tab, "more") == "I have read 5 message(s)."
        await ask(tab, "new_subject", "be brief")
        assert await say(tab, "again") == "I have read 2 message(s)."
        async with session_context(tab.session_id):
            assert user_session["topic"] == "ink"
    async with visit(page.chat, thread=thread) as stranger:
        assert stranger.reason == "unknown"
        assert (await stranger.receive_message()).content == "How can I help?"
    assert await sync_to_async(page.titles)(ada) == ["a pen"]


@conversation
async def test_what_handlers_says() -> None:
    page = page_module("handlers")
    async with visit(page.chat) as tab:
        await tab.receive_event("presence")
        assert [message.content for message in tab.messages] == ["Hello stranger!"]
        assert await say(tab, "why?") == "You asked: why?"
        assert await ask(tab, "rate", {"stars": 9}) == {"allowed": "1 to 5"}
        assert await ask(tab, "rate", {"stars": 4}) == {"stars": 4}
        assert (await ask(tab, "reverse", "abc"))["content"] == "cba"
        assert (await ask(tab, "weather", {"city": "Graz"}))["content"] == "weather in Graz: sunny"
        assert (await ask(tab, "nobody", status="failed"))["code"] == "no_handler"
        changed = await ask(tab, "settings", {"tone": "kind"})
        assert changed["content"] == "From now on I am kind."
        assert (await tab.receive_event("settings")).data == {"tone": "kind"}
        assert (await ask(tab, "count_users"))["content"] == "0 Users."
        assert (await ask(tab, "report", {"year": 2026}))["content"] == "0 in 2026"
        async with session_context(tab.session_id):
            assert user_session["chat_settings"] == {"tone": "kind"}
            await page.interrupted(InterruptedTurn(turn=1, name="message", data=None))
        await tab.wait_until(lambda: tab.messages[-1].content.startswith("I was interrupted."))
        assert tab.messages[-1].content.startswith("I was interrupted.")
    async with visit(page.chat, session=tab.session_id, token=tab.token) as tab:
        await tab.receive_event("presence")
        greetings = [one for one in tab.messages if one.content == "Hello stranger!"]
        assert len(greetings) == 1
        assert (await ask(tab, "reverse", "abc"))["content"] == "cba"
        async with session_context(tab.session_id):
            assert user_session["left_early"] is False
        assert await tab.end() == "user"
        assert tab.messages[-1].content == "Thank you, good-bye."
    assert await cache.aget("last_rating") == {"stars": 4, "reason": "user"}


@conversation
async def test_what_handlers_says_of_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_module("handlers")

    async def forever() -> None:
        await Message("begun").send()
        try:
            await asyncio.Event().wait()
        finally:
            await Message("tidied up").send()

    monkeypatch.setattr(page.chat, "events", dict(page.chat.events))
    page.chat.on_event("forever")(forever)
    async with visit(page.chat) as tab:
        assert (await tab.receive_message()).content == "Hello stranger!"
        await tab.stop()
        await tab.send_event("forever")
        assert (await tab.receive_message()).content == "begun"
        await tab.stop()
        assert await tab.wait_for_turn() == "stopped"
        said = [(await tab.receive_message()).content for _ in range(2)]
        assert said == ["tidied up", "As you like."]


@conversation
async def test_the_module_of_handlers_is_a_chat() -> None:
    async with visit(page_module("handlers").__name__) as tab:
        assert await say(tab, "hello") == "hello"


@conversation
async def test_what_asking_says() -> None:
    page = page_module("asking")
    async with visit(page.chat) as tab:
        form = await tab.receive_event("settings_form")
        rows = table("asking", "## Chat settings")
        documented = {name for row in rows for name in code_spans(row[0])}
        tags = {one.__name__: one.__struct_config__.tag for one in get_args(Input)}
        assert documented == set(tags)
        assert {one["type"] for one in form.data["inputs"]} <= set(tags.values())
        await tab.send_event("settings", {"tone": "stern"})
        assert (await tab.receive_message()).content == "I will be stern."
        await tab.send("shoes")
        (action,) = (await tab.receive_event("message")).data["actions"]
        await tab.send_event("action", {"id": action["id"], "name": action["name"]})
        assert await tab.wait_for_turn() == "done"
        for name, data in (
            ("name", lambda ask: {"content": "Ada"}),
            ("size", lambda ask: {"id": ask["actions"][1]["id"]}),
            ("locate", lambda ask: [52, 13]),
        ):
            await tab.send_event(name)
            question = (await tab.receive_event("ask")).data
            await tab.answer(question["call"], data(question))
            await tab.receive_event("ask_closed")
            assert await tab.wait_for_turn() == "done"
        async with session_context(tab.session_id):
            assert user_session["bought"] == "shoes"
            assert (user_session["name"], user_session["cm"]) == ("Ada", 140)
            assert user_session["place"] == [52, 13]
        await tab.send_event("table")
        question = (await tab.receive_event("ask")).data
        assert (question["accept"], question["max_files"]) == (["text/csv"], 2)
        await tab.stop()
        assert (await tab.receive_event("ask_closed")).data["outcome"] == "cancelled"


@conversation
async def test_the_consumer_of_handlers() -> None:
    guestbook = page_module("handlers").guestbook
    line = Communicator(guestbook, "/")
    try:
        await line.connect()
        first = await line.receive_json_from()
        assert not first.pop("resumed")
        await line.send_to("I was here")
        assert await line.receive_json_from() == {"lines": 1}
        await line.disconnect()
        line = Communicator(guestbook, f"/?{urlencode(first)}")
        await line.connect()
        assert (await line.receive_json_from())["resumed"]
        await line.send_to("Me too")
        assert await line.receive_json_from() == {"lines": 2}
        async with session_context(first["session"]) as found:
            await found.emitter.emit("closing", 5)
        assert await line.receive_json_from() == {"name": "closing", "data": 5}
        await line.disconnect()
    finally:
        await shut_down_worker()


@conversation
async def test_what_http_says(settings: Any) -> None:
    page = page_module("http")
    page.urlpatterns[1:] = [path("add/<slug:product>/", page.add)]
    settings.ROOT_URLCONF = page.__name__
    client = AsyncClient()
    try:
        body = {"content": "A pen, please."}
        response = await client.post("/desk/", body, content_type="application/json")
        told = response.json()
        assert [(one["seq"], one["data"]["content"]) for one in told["events"]] == [
            (2, "What can I do for you?"),
            (3, "Noted, number 1: A pen, please."),
        ]
        assert told["turn"] == {"turn": 1, "name": "message", "status": "done"}
        assert (await client.get("/desk/?after=2")).json()["events"][0]["seq"] == 3
        assert (await client.get("/add/pen/")).json()["events"] == 1
    finally:
        await shut_down_worker()


def test_the_http_page_has_every_error() -> None:
    folder = ROOT / "chatsessions" / "http"
    names = ("view.py", "requests.py", "responses.py")
    source = "".join((folder / name).read_text() for name in names)
    raised = set(re.findall(r'Refused\(\s*(\d+), "(\w+)"', source))
    raised |= {(status, code) for code, status in re.findall(r'"(\w+)": (\d{3}),', source)}
    raised |= {("401", "unauthorized"), ("403", "missing_env")}  # those of AccessRefused
    raised -= {("404", "not_found")}  # of files
    documented = {
        (status, code)
        for status, codes, *_ in table("http", "## Errors")
        for code in code_spans(codes)
    }
    assert documented == raised


@conversation
async def test_what_messages_says() -> None:
    page = page_module("messages")
    async with visit(page.chat) as tab:
        second = await ask(tab, "greet")
        assert json.loads(second["content"]) == {"open": True, "until": 18}
        assert (second["author"], second["metadata"]) == ("Desk", {"lang": "en"})
        assert (await ask(tab, "fail"))["metadata"] == {"error": True}
        assert (await ask(tab, "work"))["content"] == "Found it."
        await ask(tab, "secret")
        assert tab.events[-1].name == "message_remove"
        opened = await ask(tab, "ticket")
        closed = await ask(tab, "close_ticket")
        assert tab.events[-1].name == "message_update"
        assert (closed["id"], closed["content"]) == (opened["id"], "Ticket: closed")
        assert await say(tab, "tell me") == "Once upon a time."
        [opening, closing] = tab.events[-2:]
        assert (opening.name, opening.data["content"], opening.data["streaming"]) == (
            "message",
            "",
            True,
        )
        assert (closing.name, closing.data["streaming"]) == ("message_update", False)
        assert await ask(tab, "order", {"number": 42}) == {"step": 1, "of": 3}


@conversation
async def test_what_from_chainlit_says() -> None:
    page = page_module("from-chainlit")
    async with visit(page.__name__) as tab:
        assert await say(tab, "one") == "You have sent 1 message(s)!"
        assert (await ask(tab, "window_message", "the end"))["content"] == "The End"


@conversation
async def test_what_admin_says_of_code(caplog: pytest.LogCaptureFixture) -> None:
    page = page_module("admin")
    ada = await get_user_model().objects.acreate_user("ada")
    echo = page_module("handlers").__name__
    signals.turn_finished.connect(page.measure)
    try:
        with caplog.at_level("INFO", page.logger.name):
            async with visit(echo, user=ada) as tab, visit(echo):
                await say(tab, "first")
                await say(tab, "last")
                assert await sync_to_async(page.online_users)() == 1
                assert await sync_to_async(page.last_words)(ada) == "last"
    finally:
        signals.turn_finished.disconnect(page.measure)
    assert f"message of {tab.session_id}: done in 0." in caplog.text


def test_the_settings_of_the_settings_page_are_allowed() -> None:
    with override_settings(CHATSESSIONS=page_module("settings").CHATSESSIONS):
        assert list(settings.problems()) == []
        assert settings.SESSION_AGE == 86_400


@conversation
async def test_what_security_says() -> None:
    page = page_module("security")
    ada = await get_user_model().objects.acreate_user("ada")
    boss = await get_user_model().objects.acreate_superuser("boss")

    def come(application: Any, **options: Any) -> ChatCommunicator:
        return ChatCommunicator(application, "/", timeout=PATIENCE, **options)

    async def refused(application: Any, **options: Any) -> str:
        tab = come(application, **options)
        with pytest.raises(ChatRefused) as caught:
            await tab.__aenter__()
        assert caught.value.code == 4502
        return tab.errors[-1].code

    assert await refused(page.members) == "unauthorized"
    assert await refused(page.staff, user=ada) == "forbidden"
    assert await refused(page.office, user=ada) == "forbidden"
    group = await Group.objects.acreate(name="sales")
    await ada.groups.aadd(group)
    for application, user in ((page.members, ada), (page.staff, boss), (page.office, ada)):
        async with come(application, user=user) as tab:
            assert await say(tab, "hello") == f"{user.username}, you said: hello"
    assistant = ChatConsumer.as_asgi(chat=page.assistant)
    assert await refused(assistant) == "missing_env"
    async with come(assistant, env={"MODEL_API_KEY": "abcdefgh"}) as tab:
        assert await say(tab, "hello") == "Using the key that ends in efgh."


def test_the_security_page_has_the_limits_as_they_are() -> None:
    units = {"KiB": 1024, "MiB": 1024**2, "s": 1, "": 1}
    for _what, cell, _beyond in table("security", "## Limits"):
        for name, number, unit in re.findall(r"`([A-Z_]+)` \((\d+) ?(\w*)\)", cell):
            assert getattr(Settings, name).default == int(number) * units[unit], name
    text = PAGES["security"].read_text()
    assert f"`REVALIDATE_SECONDS` ({Settings.REVALIDATE_SECONDS.default})" in text


@conversation
async def test_what_handlers_says_of_profiles() -> None:
    page = page_module("handlers")
    async with visit(page.shop) as tab:
        assert (await tab.receive_message()).content == "This is the thorough one."
    async with visit(page.shop, profile="quick") as tab:
        assert (await tab.receive_message()).content == "This is the quick one."
    with override_settings(ROOT_URLCONF=page.__name__):
        found = await AsyncClient().get("/chats/profiles/", {"chat": "shop"})
    assert [one["name"] for one in found.json()["profiles"]] == ["quick", "thorough"]
    async with visit(page.chat) as tab:
        assert await ask(tab, "window_message", 5) == {"got": 5}


# Tables that have to be complete


def test_the_settings_page_has_every_setting_and_default() -> None:
    rows = [
        row
        for heading in re.findall(r"^## .+$", PAGES["settings"].read_text(), re.MULTILINE)
        if heading != "## System checks"
        for row in table("settings", heading)
    ]
    documented = {code_spans(name)[0]: default for name, _type, default, _meaning in rows}
    assert len(documented) == len(rows)
    expected = {setting.name: setting.default for setting in Settings.all()}
    assert {
        name: ast.literal_eval(code_spans(default)[0]) for name, default in documented.items()
    } == expected


def test_the_settings_page_has_every_system_check() -> None:
    documented = [
        (check, [when for when in ("(deploy)", "(database)") if when in cell])
        for cell, _meaning in table("settings", "## System checks")
        for check in re.findall(r"[EW]\d{3}", cell)
    ]
    known = [
        (check, [when for when in ("(deploy)", "(database)") if when in line])
        for line in (checks.__doc__ or "").splitlines()
        if line.startswith("``")
        for check in re.findall(r"``([EW]\d{3})``", line)
    ]
    assert sorted(documented) == sorted(known)


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [("## Client to server", frames.ClientFrame), ("## Server to client", frames.ServerFrame)],
)
def test_the_protocol_page_has_every_frame_and_key(heading: str, kinds: Any) -> None:
    documented = {}
    for kind, keys, _meaning in table("protocol", heading):
        found = re.findall(r"`(\w+)`(\??)", keys)
        documented[code_spans(kind)[0]] = {(name, bool(optional)) for name, optional in found}
    expected = {}
    for struct in kinds.__args__:
        info = msgspec.structs.fields(struct)
        expected[struct.__struct_config__.tag] = {(one.name, not one.required) for one in info}
    assert documented == expected


def test_the_protocol_page_has_every_close_code() -> None:
    documented = [int(code) for code, _why in table("protocol", "## Close codes")]
    assert sorted(documented) == sorted(int(code) for code in frames.CloseCode)


def test_the_protocol_page_has_the_error_codes_that_are_sent() -> None:
    source = "".join(path.read_text() for path in (ROOT / "chatsessions").rglob("*.py"))
    in_frames = {
        code: meaning
        for cell, meaning, _after in table("protocol", "## Error codes")
        for code in code_spans(cell)
    }
    in_log = {
        code
        for cell, _meaning in table("protocol", "In `error` events of the log, about a turn:")
        for code in code_spans(cell)
    }
    sent = {code for code, meaning in in_frames.items() if meaning != "reserved"}
    assert {code for code in sent | in_log if f'"{code}"' not in source} == set()
    assert {code for code in in_frames if code not in sent and f'"{code}"' in source} == set()
    raised = re.findall(r'(?:FrameError|frames\.Error|_fail)\(\s*"(\w+)"', source)
    assert set(raised) <= sent


def test_the_handlers_page_has_every_hook() -> None:
    hooks = {name for name in vars(Chat) if name.startswith("on_")} | {"session_lifespan"}
    text = PAGES["handlers"].read_text()
    assert set(re.findall(r"^## ((?:on_|session_)\w+)$", text, re.MULTILINE)) == hooks
    listed = {code_spans(row[0])[0].split("(")[0] for row in table("handlers", "# Handlers")}
    assert listed == hooks
    exported = {name for name in chatsessions.__all__ if name.startswith("on_")}
    assert exported | {"session_lifespan"} == hooks


def test_every_public_name_is_documented() -> None:
    text = "".join(PAGES[page].read_text() for page in PAGES)
    names = [*chatsessions.__all__, "ChatConsumer", "SessionConsumer"]
    assert [name for name in names if not re.search(rf"`[^`]*\b{name}\b", text)] == []


def test_the_concepts_page_has_what_a_session_and_user_session_have() -> None:
    text = PAGES["concepts"].read_text()
    rows = table("concepts", "### What a session says of itself")
    assert {name for names, _meaning in rows for name in code_spans(names)} == {
        one.name for one in dataclasses.fields(Session) if one.init
    }
    reserved = text[text.index("**Keys that are read live") :].split("They are not")[0]
    assert set(code_spans(reserved)) == set(RESERVED)


def test_the_admin_page_has_every_signal_permission_and_queryset_method() -> None:
    documented = {
        code_spans(name)[0]: set(code_spans(arguments))
        for name, arguments, _when in table("admin", "## Signals")
    }
    known = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert set(documented) == known
    for name, arguments in documented.items():
        source = Path(signals.__file__).read_text()
        comment = source[: source.index(f"{name} = ")].rpartition("Arguments:")[2]
        assert set(re.findall(r"``(\w+)``", comment)) >= arguments
    permissions = {code_spans(row[0])[0] for row in table("admin", "## In the admin")}
    own = {f"chatsessions.{codename}" for codename, _name in ChatSession._meta.permissions}
    assert own <= permissions
    text = PAGES["admin"].read_text()
    methods = [name for name in vars(ChatSessionQuerySet) if not name.startswith("_")]
    assert [name for name in methods if f"`{name}(" not in text] == []


def test_the_page_about_the_page_has_every_part() -> None:
    rows = table("page", "## The look", after="</style>")
    listed = [name for names, _of in rows for name in code_spans(names)]
    assert len(listed) == len(set(listed))
    folders = [ROOT / "frontend" / name for name in ("element", "markdown")]
    source = {path.name: path.read_text() for folder in folders for path in folder.rglob("*.ts")}
    source.pop("widget.ts")  # it has a page of its own
    text = "".join(source.values())
    written = re.findall(r"\bpart: [\"`]([\w -]+)", text)
    written += re.findall(r"\b(?:button|tool|dialogOf)\(\"([\w -]+)\"", text)
    written += re.findall(r"\bisolated\([^\"\n]+, \"([\w-]+)\"\)", text)
    written += re.findall(r"\bsetAttribute\(\"part\", \"([\w -]+)\"", text)
    # What an article is besides a message.
    for name in ("questions.ts", "message.ts", "message-list.ts"):
        for kinds in re.findall(r"\bkind(?:: | = )([^,;\n]+)", source[name]):
            written += re.findall(r"[\"`](?:\$\{kind\} )?([a-z ]+)[\"`]", kinds)
    parts = {part for words in written for part in words.split() if not part.endswith("-")}
    parts |= {f"field-{widget.__struct_config__.tag}" for widget in get_args(Input)}
    assert set(listed) == parts
    sheets = [path for folder in folders for path in folder.rglob("*.css")]
    styles = "".join(path.read_text() for path in sheets if path.stem != "widget")
    assert set(re.findall(r"\[part~?=\"([\w-]+)\"\]", styles)) <= parts


def test_the_page_about_the_widget_has_every_part() -> None:
    [listed] = re.findall(r"The parts are (.*?):", (DOCS / "widget.md").read_text(), re.DOTALL)
    element = ROOT / "frontend/element"
    text = (element / "widget.ts").read_text()
    written = re.findall(r"\bpart: \"(\w+)\"|= button\(\"(\w+)\"", text)
    parts = {name for names in written for name in names if name} | {"icon"}
    assert set(code_spans(listed)) == parts
    styles = (element / "widget.css").read_text()
    assert set(re.findall(r"\[part=\"(\w+)\"\]", styles)) <= parts


# Links


def _anchors(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = PAGES[page]
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        assert other.is_file(), f"{path.name} links to {target}"
        assert not anchor or anchor in _anchors(other), f"{path.name} links to {target}"


def test_the_index_leads_to_every_page() -> None:
    listed = set(PAGES["index"].read_text().splitlines())
    assert set(PAGES) - {"README", "index"} <= listed


def test_the_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert (chatsessions.__version__, "2026-11-22") in versions
    assert versions[0][0] in ("Unreleased", chatsessions.__version__)


def test_the_page_about_the_code_lists_what_is_there() -> None:
    """Each folder of the package with its modules, and each module beside them."""
    text = (DOCS / "architecture.md").read_text()
    table = text.split("<!-- layout -->")[1].split("<!-- /layout -->")[0]
    told = {
        part: set(re.findall(r"`(\w+)`", modules))
        for part, modules in re.findall(r"^\| `([\w/.]+)` \|[^|]*\| ?([^|]*)\|$", table, re.M)
    }
    package = ROOT / "chatsessions"
    there = {f"{path.name}": set[str]() for path in package.glob("*.py")} | {
        f"{path.parent.name}/": {one.stem for one in path.parent.glob("*.py")} - {"__init__"}
        for path in package.glob("*/__init__.py")
    }
    assert told == {
        part: modules
        for part, modules in there.items()
        if part not in ("__main__.py", "migrations/")
    }

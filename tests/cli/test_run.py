"""``chatsessions run``: one file, one command; and what a beginner does wrong with it."""

from __future__ import annotations

import asyncio
import html
import os
import re
import sqlite3
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import gethostname
from threading import Thread

import pytest
from websockets.exceptions import WebSocketException

from tests.server.client import Client

from .command import COUNTER, PATIENCE, Run, call

pytestmark = pytest.mark.server

Start = Callable[..., Run]

BROKEN = "import chatsessions as cl\n\ncl.no_such_thing(\n"
SLOW = """\
import asyncio
import chatsessions as cl


@cl.on_message
async def handle(message: cl.Message):
    print("I begin.")
    await cl.Message("I begin.").send()
    await asyncio.sleep(60)
"""


def client(run: Run, slug: str = "counter-bot", prefix: str = "") -> Client:
    return Client(run.socket(slug, prefix), run.origin)


async def come_back(tab: Client) -> None:
    """Resume as a page does: again, if the server that stops has taken the connection."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await tab.resume(timeout=PATIENCE)
            except (AssertionError, OSError, WebSocketException):
                await asyncio.sleep(0.1)
            else:
                return


# What works


async def test_one_file_and_one_command_serve_the_tutorials_bot(served: Run) -> None:
    status, page = served.get("/")
    assert status == 200
    assert "<chat-session" in page
    async with client(served) as one, client(served) as two:
        await one.start()
        await two.start()
        await one.message("a")
        await one.message("b")
        await one.said("You have sent 2 message(s)!")
        await two.message("c")
        await two.said("You have sent 1 message(s)!")
        said = [seen.data for seen in two.entries.values() if "author" in seen.data]
        assert [data.get("format") for data in said] == ["markdown"] * 2


async def test_what_it_keeps_lies_in_one_folder_and_outlives_a_stop_a_kill_and_a_migration(
    run: Start, counter: Path
) -> None:
    kept = counter / ".chatsessions"
    served = run("counter_bot.py")
    async with client(served) as tab:
        await tab.start()
        await tab.message("a")
        await tab.said("You have sent 1 message(s)!")
        assert await asyncio.to_thread(served.interrupt) in (0, 130)
        assert "Traceback" not in served.terminal()
        await tab.closed()
        # A database of an earlier version is copied and migrated, once.
        with closing(sqlite3.connect(kept / "db.sqlite3")) as connection, connection:
            connection.execute("DELETE FROM django_migrations WHERE app = 'admin'")
            connection.execute("DROP TABLE django_admin_log")
        for count in (2, 3):
            await asyncio.to_thread(served.start)
            assert ("is a copy of it" in served.terminal()) is (count == 2)
            assert len(list(kept.glob("db.before-*.sqlite3"))) == 1
            await tab.resume()
            await tab.message("more")
            await tab.said(f"You have sent {count} message(s)!")
            await asyncio.to_thread(served.kill)
            await tab.closed()
    assert {"db.sqlite3", "secret_key", ".gitignore"} <= {path.name for path in kept.iterdir()}
    assert (kept / ".gitignore").read_text().splitlines()[-1] == "*"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    known = {"counter_bot.py", ".chatsessions", "terminal.log", "__pycache__"}
    assert set(os.listdir(counter)) <= known


@pytest.mark.slow
def test_the_admins_password_is_printed_once_and_can_be_made_anew(run: Start) -> None:
    served = run("counter_bot.py")
    first = served.password
    assert "Chat sessions" in served.log_in(first)[1]
    served.interrupt()
    assert first not in served.start().terminal()
    assert "--new-password" in served.terminal()
    served.interrupt()
    served.arguments = ("counter_bot.py", "--new-password")
    served.start()
    assert served.password != first
    assert "Chat sessions" in served.log_in(served.password)[1]
    assert "Please enter the correct" in served.log_in(first)[1]


async def test_several_bots_below_a_path_for_other_machines_without_an_admin(
    run: Start, counter: Path
) -> None:
    (counter / "shop").mkdir()
    (counter / "shop" / "__init__.py").touch()
    (counter / "shop" / "bots.py").write_text(
        "from chatsessions import Chat, Message\n\n"
        "support = Chat('support')\n\n\n"
        "@support.on_message\nasync def handle(message):\n"
        "    await Message('How can I help?').send()\n"
    )
    options = ("--root-path", "/bots", "--host", "0.0.0.0", "--no-admin", "--debug")  # noqa: S104
    served = run("counter_bot.py", "shop.bots:support", *options)
    # They have a start page, which is found with and without the path.
    for path in ("", "/bots"):
        status, page = served.get(f"{path}/")
        assert status == 200
        assert 'href="/bots/chat/counter-bot/"' in page
        assert 'href="/bots/chat/support/"' in page
        assert "/admin/" not in page
        assert 'src="/bots/ws/support/"' in served.get(f"{path}/chat/support/")[1]
    style = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert style.startswith("/bots/static/")
    assert served.get(style)[0] == 200
    assert served.get("/admin/")[0] == 404
    async with client(served, "support", prefix="/bots") as tab:
        await tab.start()
        await tab.message("hello")
        await tab.said("How can I help?")
    # What is printed: no password, each name once, and what Django logs once.
    assert served.get("/nowhere/")[0] == 404
    await asyncio.to_thread(served.interrupt)
    assert len(re.findall(r"Not Found: \S*/nowhere/", served.terminal())) == 1
    assert "with the password" not in served.terminal()
    [line] = [one for one in served.terminal().splitlines() if "Reached as" in one]
    names = line.split("Reached as ")[1].split(";")[0].split(", ")
    assert {"localhost", "127.0.0.1", "[::1]", gethostname()} <= set(names)
    assert len(names) == len(set(names))


@pytest.fixture
def certificate(counter: Path) -> Path:
    """A self-signed one for 127.0.0.1; its key is beside it."""
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    make += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make += ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(make, cwd=counter, check=True, capture_output=True)
    return counter / "cert.pem"


async def test_with_a_certificate_page_admin_and_websocket_are_behind_tls(
    run: Start, certificate: Path
) -> None:
    arguments = ("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")
    served = run("counter_bot.py", *arguments, wait=False)
    served.trusted = ssl.create_default_context(cafile=certificate)
    served.until(lambda: served.get("/")[0] == 200, "the server does not answer")
    assert f"{served.origin}/" in served.terminal()
    assert "Chat sessions" in served.log_in(served.password)[1]
    async with client(served) as tab:
        await tab.connect(ssl=served.trusted)
        await tab.hello()
        await tab.message("hello")
        await tab.said("You have sent 1 message(s)!")


async def test_a_saved_file_is_served_and_open_tabs_go_on(run: Start, counter: Path) -> None:
    """A mistake is shown on the page, and mended by saving."""
    bot, environment = counter / "counter_bot.py", counter / "env"
    bot.write_text(BROKEN)
    environment.mkdir()
    (environment / "pyvenv.cfg").touch()
    served = run("counter_bot.py", "-w")
    status, page = served.get("/")
    assert status == 503
    for text in (page, served.terminal()):
        assert "SyntaxError" in text
        assert "counter_bot.py" in text
        assert "importlib" not in text
    bot.write_text(COUNTER)
    served.until(lambda: "<chat-session" in served.get("/")[1], "it is not mended")
    async with client(served) as tab:
        await tab.start()
        await tab.message("a")
        await tab.said("You have sent 1 message(s)!")
        bot.write_text(COUNTER.replace("You have sent", "By now you have sent"))
        await tab.closed(timeout=60)
        await come_back(tab)
        await tab.message("b")
        await tab.said("By now you have sent 2 message(s)!", timeout=60)
    # What is installed beside the bot is not watched.
    (environment / "installed.py").touch()
    (counter / "imported.py").touch()
    served.until(lambda: "'imported.py'" in served.terminal(), "nothing was noticed")
    assert "installed.py" not in served.terminal()
    # Ctrl-C ends it with its server.
    before = len(served.terminal())
    assert await asyncio.to_thread(served.interrupt) in (0, 130)
    assert "Traceback" not in served.terminal()[before:]
    assert served.get("/")[0] is None


@pytest.mark.slow
async def test_a_turn_that_a_reload_cuts_short_is_said_to_be_interrupted(
    run: Start, counter: Path
) -> None:
    (counter / "counter_bot.py").write_text(SLOW)
    served = run("counter_bot.py", "-w")
    async with client(served) as tab:
        await tab.start()
        turn = await tab.message("a")
        await tab.said("I begin.")
        (counter / "counter_bot.py").write_text(SLOW + "\n# saved\n")
        await tab.closed(timeout=60)
        await come_back(tab)
        await tab.until(lambda frame: frame.get("name") == "error", timeout=60)
        assert tab.outcomes.get(turn, "interrupted") == "interrupted"


def test_what_a_beginner_gets_wrong_is_said_in_words(run: Start, counter: Path) -> None:
    """Of each bot that cannot be served, on the page and in the terminal."""
    mistakes = {
        "empty_bot": ("x = 1\n", "has no handlers"),
        "chainlit_bot": (
            "import chatsessions.chainlit as cl\n\n\n@cl.data_layer\ndef rows(): ...\n",
            "sessions and their logs are rows",
        ),
        "data_bot": (
            "from chatsessions.chainlit.data import BaseDataLayer\n",
            "sessions and their logs are rows",
        ),
        "exit_bot": ("raise SystemExit('no key')\n", "SystemExit: no key"),
        "import_bot": ("import no_such_package\n", "No module named 'no_such_package'"),
        "other_bot": ("import chainlit as cl\n", "'chatsessions port FILE' changes its imports"),
        "two_bot": (
            "from chatsessions import Chat\n\na, b = Chat('a'), Chat('b')\n",
            "Name one of those that it has: two_bot.a or two_bot.b.",
        ),
    }
    for name, (source, _) in mistakes.items():
        (counter / f"{name}.py").write_text(source)
    (counter / "bots").mkdir()
    (counter / "bots" / "random.py").write_text(COUNTER)  # it would hide a module
    served = run("counter_bot.py", *(f"{name}.py" for name in mistakes), "bots/random.py")
    status, page = served.get("/chat/counter-bot/")
    assert status == 503
    for name, (_, words) in mistakes.items():
        for text in (html.unescape(page), served.terminal()):
            assert f"{name}.py" in text
            assert words in text
    assert "has the name of the module 'random'" in served.terminal()
    assert "random_bot.py" in page
    assert "__getattr__" not in served.terminal()
    assert "find_spec" not in served.terminal()
    # Whatever is asked for meets the page; that it does is not said again and again.
    assert served.post("/http/counter-bot/", {"content": "a"})[0] == 503
    assert "django.request" not in served.terminal()


@pytest.mark.slow
def test_a_watched_file_that_is_gone_for_a_moment(run: Start, counter: Path) -> None:
    served = run("counter_bot.py", "-w")
    (counter / "counter_bot.py").unlink()
    served.until(lambda: "There is no file" in served.get("/")[1], "the page does not say it")
    assert "Traceback" not in served.terminal()
    (counter / "counter_bot.py").write_text(COUNTER)
    served.until(lambda: "<chat-session" in served.get("/")[1], "it is not mended")


async def test_ctrl_c_interrupts_what_runs_and_is_quiet_about_it(run: Start, counter: Path) -> None:
    """A handler whose tab waits, and one whose request does."""
    (counter / "counter_bot.py").write_text(SLOW)
    served = run("counter_bot.py")
    request = Thread(target=served.post, args=("/http/counter-bot/", {"content": "a"}))
    async with client(served) as tab:
        await tab.start()
        await tab.message("a")
        request.start()
        await asyncio.to_thread(
            served.until, lambda: served.terminal().count("I begin.") == 2, "it does not begin"
        )
        assert await asyncio.to_thread(served.interrupt) in (0, 130)
        assert "Traceback" not in served.terminal()
        await asyncio.to_thread(served.start)
        await come_back(tab)
        interrupted = await tab.until(lambda frame: frame.get("name") == "error", timeout=60)
        assert interrupted["data"]["code"] == "interrupted"
    request.join()


# What does not


def test_a_file_that_is_no_database_is_said_in_words_and_left_alone(
    run: Start, counter: Path
) -> None:
    database = counter / ".chatsessions" / "db.sqlite3"
    database.parent.mkdir()
    database.write_text("My notes. " * 1000)
    served = run("counter_bot.py", wait=False)
    assert served.process is not None
    assert served.process.wait(PATIENCE) == 1
    assert "The database cannot be used: file is not a database" in served.terminal()
    assert "Traceback" not in served.terminal()
    assert database.read_text() == "My notes. " * 1000


@pytest.mark.slow
def test_a_database_of_a_later_version_is_left_alone(run: Start, counter: Path) -> None:
    served = run("counter_bot.py")
    served.interrupt()
    with (
        closing(sqlite3.connect(counter / ".chatsessions" / "db.sqlite3")) as connection,
        connection,
    ):
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied) "
            "VALUES ('chatsessions', '9999_later', '2026-01-01')"
        )
    with pytest.raises(AssertionError, match=r"later version of chatsessions \(9999_later\)"):
        served.start()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Which bot? Write its file"),
        (["run", "nobody.py"], "There is no file nobody.py. In"),
        (["run", "folder/bot.py"], "There is no folder folder either."),
        (["run", "what is this"], "is neither a file nor a module"),
        (["run", "nobody"], "There is no module nobody, and no file nobody.py. In"),
        (["run", "counter_bot.py", "counter_bot.py"], "is given twice"),
        (["run", "counter_bot.py", "--port", "70000"], "'70000' is no port"),
        (["run", "counter_bot.py", "--workers", "2"], "set DATABASE_URL and REDIS_URL"),
        (["run", "counter_bot.py", "--workers", "none"], "is not a whole number"),
        (["run", "counter_bot.py", "--root-path", "bots"], "has to begin with a slash"),
        (["run", "counter_bot.py", "--ssl-keyfile", "key.pem"], "goes with --ssl-certfile"),
        (["run", "counter_bot.py", "--ssl-certfile", "no.pem"], "There is no file no.pem"),
        (
            ["run", "counter_bot.py", "--ssl-certfile", "counter_bot.py"],
            "counter_bot.py alone is not a certificate and its key",
        ),
        (["run", "counter_bot.py", "--host", "192.0.2.1"], "Cannot listen on 192.0.2.1:8000"),
    ],
)
def test_a_wrong_command_line_is_said_in_words(
    counter: Path, arguments: list[str], words: str
) -> None:
    result = call(*arguments, cwd=counter)
    assert result.returncode in (1, 2)
    assert words in result.stderr


def test_a_second_run_of_a_folder_names_the_first(served: Run) -> None:
    """Rather than that the port is taken: another one would not help."""
    assert served.process is not None
    for port in (served.port + 1, served.port):
        result = call("run", "counter_bot.py", "--port", str(port), cwd=served.folder)
        assert result.returncode == 1
        assert f"it is served at {served.origin}/ by process {served.process.pid}" in result.stderr


class SilentHandler(BaseHTTPRequestHandler):
    """Any web server, which logs nothing to the terminal of this process."""

    def log_message(self, *_: object) -> None:
        pass


def test_a_taken_port_is_named_and_the_next_one_offered(served: Run, counter: Path) -> None:
    result = call("run", "counter_bot.py", "--port", str(served.port), cwd=counter)
    assert result.returncode == 1
    assert f"Port {served.port} is taken" in result.stderr
    assert "(uvicorn) answers there, perhaps another chatsessions run." in result.stderr
    assert "The next free one is --port" in result.stderr
    with HTTPServer(("127.0.0.1", 0), SilentHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        result = call("run", "counter_bot.py", "--port", str(server.server_port), cwd=counter)
        server.shutdown()
    assert "a web server (BaseHTTP/0.6 Python" in result.stderr
    assert "chatsessions run" not in result.stderr.removeprefix("chatsessions run: ")


def test_a_folder_that_cannot_be_written(counter: Path) -> None:
    (counter / "taken").write_text("a file, so no folder, not even for root")
    result = call("run", "counter_bot.py", "--data", "taken/data", cwd=counter)
    assert result.returncode == 1
    assert "Cannot write in taken/data" in result.stderr
    assert "--data FOLDER" in result.stderr


def test_the_settings_in_use_can_be_read(counter: Path) -> None:
    result = call("run", "--show-settings", cwd=counter)
    assert result.returncode == 0
    assert "INSTALLED_APPS" in result.stdout
    compile(result.stdout, "settings.py", "exec")


def test_the_command_is_installed_under_its_name() -> None:
    script = Path(sys.executable).parent / "chatsessions"
    assert script.exists(), "pip has installed no command"


def test_how_many_workers_is_an_option_only(run: Start) -> None:
    # With a number there uvicorn would start that many, without a database that they share.
    assert run("counter_bot.py", env={"WEB_CONCURRENCY": "many"}).get("/")[0] == 200


async def test_several_workers_on_postgresql_and_redis(
    run: Start, database_url: str, redis_url: str
) -> None:
    served = run(
        "counter_bot.py",
        "--workers",
        "2",
        env={"DATABASE_URL": database_url, "REDIS_URL": redis_url},
    )
    async with client(served) as tab:
        await tab.start()
        for count in (1, 2, 3, 4):
            await tab.message("a")
            await tab.said(f"You have sent {count} message(s)!")
            await tab.drop()
            await come_back(tab)
        assert await asyncio.to_thread(served.interrupt) in (0, 130)
        assert "Traceback" not in served.terminal()

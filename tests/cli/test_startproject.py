"""``chatsessions startproject``: a project whose tests pass, out of the single file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.deployment.nginx import Nginx
from tests.deployment.processes import Process
from tests.server.client import Client
from tests.support.ports import free_port

from .command import COUNTER, PATIENCE, ROOT, Run, call, environment

pytestmark = pytest.mark.server


def python(*arguments: str, cwd: Path, **env: str) -> str:
    """What a command of the new project prints; it succeeds."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment({"PYTHONPATH": str(ROOT), **env}),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def fetch(request: str | Request) -> str:
    with urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
        text: str = response.read().decode()
        return text


def test_a_new_project_passes_its_tests_and_the_checks_of_a_deployment(tmp_path: Path) -> None:
    result = call("startproject", "mysite", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    project = tmp_path / "mysite"
    # What is typed next is what the README says, the installation first.
    typed = re.findall(r"^  (\S.+)$", result.stdout, re.MULTILINE)
    readme = (project / "README.md").read_text()
    assert typed[:2] == ["cd mysite", 'pip install -e ".[dev]"']
    assert "".join(f"    {command}\n" for command in typed[1:]) in readme
    assert "2 passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    said = python(
        *("manage.py", "check", "--deploy"),
        cwd=project,
        DJANGO_DEBUG="0",
        DJANGO_SECRET_KEY="k3y" * 20 + "0123456789abcdef",
        DJANGO_ALLOWED_HOSTS="chat.example.com",
    )
    # Only the owner knows how long browsers are to insist on https; the README says so.
    assert re.findall(r"\((\w+\.[EW]\d+)\)", said) == ["security.W004"]
    assert "security.W004" in readme
    code = "import django, logging; django.setup(); "
    code += "from django.core.management import call_command; "
    code += "call_command('makemigrations', check=True); "
    code += "logging.getLogger('django.request').error('!!')"
    said = python("-c", code, cwd=project, DJANGO_SETTINGS_MODULE="mysite.settings")
    assert said.count("!!") == 1
    assert "No changes detected" in said
    left = [path for path in project.rglob("*") if path.name.endswith("-tpl")]
    texts = [
        path.read_text() for path in project.rglob("*") if path.suffix in {".py", ".md", ".yaml"}
    ]
    assert not left
    assert not [text for text in texts if "{{" in text]


async def test_bot_and_conversations_are_taken_along(
    run: Callable[..., Run], counter: Path
) -> None:
    served = run("counter_bot.py")
    async with Client(served.socket("counter-bot"), served.origin) as tab:
        await tab.start()
        await tab.message("a")
        await tab.said("You have sent 1 message(s)!")
        session = tab.session
    served.interrupt()
    result = call(
        *("startproject", "mysite", "--from", "counter_bot.py", "--with-data"), cwd=counter
    )
    assert result.returncode == 0, result.stderr
    project = counter / "mysite"
    assert sorted(os.listdir(project / "bots")) == ["__init__.py", "counter_bot.py"]
    assert (project / "bots" / "counter_bot.py").read_text() == COUNTER
    with closing(sqlite3.connect(project / "data" / "db.sqlite3")) as connection:
        rows = connection.execute("SELECT id, chat, state FROM chatsessions_chatsession").fetchall()
    assert rows == [(str(session).replace("-", ""), "bots.counter_bot", '{"message_count":1}')]


def test_a_bot_whose_name_is_that_of_the_counter_is_there(tmp_path: Path) -> None:
    """It was deleted in place of the counter: the project had no bot at all."""
    bot = "from chatsessions import Chat\n\nchat = Chat('mine')\n"
    (tmp_path / "counter.py").write_text(bot)
    result = call("startproject", "mysite", "--from", "counter.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    bots = tmp_path / "mysite" / "bots"
    assert sorted(os.listdir(bots)) == ["__init__.py", "counter.py"]
    assert (bots / "counter.py").read_text() == bot


@pytest.mark.slow
def test_one_of_several_chats_and_what_lies_beside_its_file(counter: Path) -> None:
    (counter / "shop.py").write_text(
        "import words\n"
        "from chatsessions import Chat, Message\n\n"
        "sales, support = Chat('sales'), Chat('support')\n\n\n"
        "@support.on_message\n"
        "async def handle(message: Message):\n"
        "    await Message(words.GREETING).send()\n"
    )
    (counter / "words.py").write_text("GREETING = 'Hello'\n")
    result = call("startproject", "mysite", "--from", "shop.py:support", cwd=counter)
    assert result.returncode == 0, result.stderr
    assert "The bot imports words.py from its own folder: copy them to mysite/" in result.stdout
    project = counter / "mysite"
    (counter / "words.py").rename(project / "words.py")
    assert "2 passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    code = (
        "import django; django.setup(); from mysite import asgi; "
        "from chatsessions.handlers.chat import routed_chats; "
        "print([chat.name for chat in routed_chats()])"
    )
    assert "['support']" in python(
        "-c", code, cwd=project, DJANGO_SETTINGS_MODULE="mysite.settings"
    )


@pytest.mark.slow
async def test_what_serves_it_in_production_does(tmp_path: Path) -> None:
    """Without Docker: the container's command behind nginx, and compose.yaml as it is read."""
    assert call("startproject", "mysite", cwd=tmp_path).returncode == 0
    project = tmp_path / "mysite"
    env = environment(
        {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{project}",
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "DJANGO_DEBUG": "0",
            "DJANGO_SECRET_KEY": "k3y" * 20,
            "DJANGO_ALLOWED_HOSTS": "localhost",
        }
    )
    python("manage.py", "migrate", cwd=project, **env)
    python("manage.py", "collectstatic", "--noinput", cwd=project, **env)
    dockerfile = (project / "Dockerfile").read_text().replace("\\\n", "")
    program, *arguments = json.loads(dockerfile.split("\nCMD ")[1])
    port = free_port()
    arguments[arguments.index("--port") + 1] = str(port)
    worker = Process(
        [Path(sys.executable).parent / program, *arguments],
        port=port,
        log=tmp_path / "worker.log",
        env=env,
    )
    nginx = Nginx(tmp_path / "nginx", [port, port])
    site = (project / "nginx.conf").read_text()
    for written, here in {
        "listen 80;": f"listen 127.0.0.1:{nginx.port};",
        "alias /data/static/;": f"alias {project}/data/static/;",
        "http://worker:8000;": f"http://127.0.0.1:{port};",
    }.items():
        assert site.count(written) == 1
        site = site.replace(written, here)
    (tmp_path / "nginx" / "site.conf").write_text(site)
    assert "[warn]" not in nginx.check()
    worker.start()
    try:
        with nginx.running():
            address = f"localhost:{nginx.port}"
            tls = {"X-Forwarded-Proto": "https"}
            page = await asyncio.to_thread(fetch, Request(f"http://{address}/", headers=tls))
            assert "<chat-session" in page
            script = re.search(r"/static/chatsessions/[\w.-]+\.js", page)
            assert script is not None
            assert await asyncio.to_thread(fetch, f"http://{address}{script[0]}")
            socket = f"ws://{address}/ws/counter/"
            async with Client(socket, f"https://{address}") as tab:
                await tab.start()
                await tab.message("a")
                await tab.said("You have sent 1 message(s)!")
    finally:
        worker.discard()
    compose = yaml.safe_load((project / "compose.yaml").read_text())
    assert set(compose["services"]) == {"migrate", "worker", "nginx", "postgres", "redis"}
    assert compose["services"]["worker"]["environment"]["DATABASE_URL"].endswith("@postgres/mysite")
    assert compose["services"]["worker"]["deploy"] == {"replicas": 2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["my-site"], "'my-site' cannot be a project's name"),
        (["class"], "cannot be a project's name"),
        (["bots"], "cannot be a project's name"),
        (["there"], "is there already"),
        (["mysite", "--from", "nobody.py"], "There is no file nobody.py"),
        (["mysite", "--from", "json.tool"], "--from takes a file"),
        (["mysite", "--from", "my-bot.py"], "Rename it first, for instance to my_bot.py"),
        (["mysite", "--with-data"], "name it with --from"),
        (["mysite", "--from", "counter_bot.py", "--with-data"], "There is no database in"),
        (["json"], "Please try another name"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_made(
    counter: Path,
    arguments: list[str],
    words: str,
) -> None:
    (counter / "there").mkdir()
    (counter / "my-bot.py").write_text(COUNTER)
    result = call("startproject", *arguments, cwd=counter)
    assert result.returncode == 1
    assert words in result.stderr
    assert sorted(os.listdir(counter)) == ["counter_bot.py", "my-bot.py", "there"]

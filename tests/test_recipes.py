"""The bots of the recipes, each with a service that speaks the wire of the real one."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from chatsessions.asgi import get_chat_application
from chatsessions.models import ChatSession
from chatsessions.testing import ChatCommunicator

from .services import need_package
from .support.models import Call, ModelService, Say, served
from .support.sessions import until

RECIPES = Path(__file__).resolve().parent.parent / "docs" / "recipes"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ModelService]:
    """A service of models, to which the clients of both kinds lead."""
    found = ModelService()
    async with served(found) as address:
        for name, path in (("OPENAI", "/v1"), ("ANTHROPIC", "")):
            monkeypatch.setenv(f"{name}_BASE_URL", f"{address}{path}")
            monkeypatch.setenv(f"{name}_API_KEY", "key")
        yield found


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ChatCommunicator]:
    """Opens a tab of the bot in a recipe's file."""
    monkeypatch.syspath_prepend(RECIPES)

    def open_tab(name: str, *needed: str) -> ChatCommunicator:
        for package in needed:
            need_package(package)
        if name not in sys.modules:
            importlib.import_module(name)
        return ChatCommunicator(get_chat_application({"ws/": name}), "/ws/", timeout=20)

    return open_tab


async def say(tab: ChatCommunicator, text: str, *, status: str = "done") -> str:
    """The whole answer to ``text``."""
    await tab.send(text)
    assert await tab.wait_for_turn() == status
    return tab.messages[-1].content


def steps(tab: ChatCommunicator) -> list[dict[str, Any]]:
    """The steps that are finished, in order."""
    return [event.data for event in tab.events if event.name == "step_update"]


# OpenAI


async def test_openai(recipe: Any, service: ModelService) -> None:
    async with recipe("openai_bot", "openai") as tab:
        service.script.append(Say(["Good ", "morning."]))
        assert await say(tab, "Hello") == "Good morning."
        assert steps(tab) == []

        service.script += [Call("current_time", {"zone": "Europe/Paris"}), Say(["It is ", "late."])]
        assert await say(tab, "What time is it in Paris?") == "It is late."
        [step] = steps(tab)
        assert (step["name"], step["type"]) == ("current_time", "tool")
        assert re.fullmatch(r"\w+, \d\d:\d\d", step["output"])
    _hello, asked, told = service.requests
    assert asked["messages"][1:] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good morning."},
        {"role": "user", "content": "What time is it in Paris?"},
    ]
    assert told["messages"][-1]["content"] == step["output"]


async def test_openai_is_told_of_a_tool_that_fails(recipe: Any, service: ModelService) -> None:
    async with recipe("openai_bot", "openai") as tab:
        service.script += [Call("current_time", {"zone": "Nowhere/At"}), Say(["I cannot tell."])]
        assert await say(tab, "What time is it nowhere?") == "I cannot tell."
        assert steps(tab)[0]["error"]
    assert "ZoneInfoNotFoundError" in service.requests[-1]["messages"][-1]["content"]


async def test_openai_has_to_answer_in_the_end(recipe: Any, service: ModelService) -> None:
    async with recipe("openai_bot", "openai") as tab:
        service.script += [Call("current_time", {"zone": "UTC"}) for _ in range(4)]
        service.script.append(Say(["Late."]))
        assert await say(tab, "What time is it?") == "Late."
    choices = [request["tool_choice"] for request in service.requests]
    assert choices == ["auto", "auto", "auto", "auto", "none"]


async def test_stop_ends_the_request(recipe: Any, service: ModelService) -> None:
    async with recipe("openai_bot", "openai") as tab:
        service.script.append(Say(["on ", "and "], endless=True))
        await tab.send("Go on")
        await tab.wait_until(lambda: tab.messages and "on and and" in tab.messages[-1].content)
        await tab.stop()
        assert await tab.wait_for_turn() == "stopped"
        await until(lambda: service.cut)
        so_far = tab.messages[-1].content
        service.script.append(Say(["As you like."]))
        assert await say(tab, "Enough!") == "As you like."
    assert so_far in [message["content"] for message in service.requests[-1]["messages"]]


# Anthropic


async def test_anthropic(recipe: Any, service: ModelService) -> None:
    async with recipe("anthropic_bot", "anthropic") as tab:
        service.script += [Say(["Good ", "morning."]), Say(["Still ", "here."])]
        assert await say(tab, "Hello") == "Good morning."
        assert await say(tab, "And now?") == "Still here."
        service.script.append(Say(["on ", "and "], endless=True))
        await tab.send("Go on")
        await tab.wait_until(lambda: "on and and" in tab.messages[-1].content)
        await tab.stop()
        assert await tab.wait_for_turn() == "stopped"
        await until(lambda: service.cut)
    assert [message["content"] for message in service.requests[1]["messages"]] == [
        *("Hello", "Good morning.", "And now?")
    ]
    assert service.requests[0]["system"] == "You are brief."


# LangGraph


async def test_langgraph(recipe: Any, service: ModelService) -> None:
    async with recipe("langgraph_bot", "langgraph", "openai") as tab:
        service.script.append(Say(["Within ", "30 days."]))
        assert await say(tab, "What about returns?") == "Within 30 days."
        [step] = steps(tab)
        assert (step["name"], step["type"]) == ("look_up", "retrieval")
        assert "30 days" in step["output"]
        service.script.append(Say(["on ", "and "], endless=True))
        await tab.send("And delivery?")
        await tab.wait_until(lambda: "on and and" in tab.messages[-1].content)
        await tab.stop()
        assert await tab.wait_for_turn() == "stopped"
        await until(lambda: service.cut)
    first, second = service.requests
    assert "30 days" in first["messages"][0]["content"]
    assert "two days" in second["messages"][0]["content"]
    assert [one["content"] for one in second["messages"][1:]] == [
        *("What about returns?", "Within 30 days.", "And delivery?")
    ]


# Pydantic AI


async def test_pydantic_ai(recipe: Any, service: ModelService) -> None:
    async with recipe("pydantic_ai_bot", "pydantic_ai", "openai") as tab:
        service.script += [Call("price", {"dish": "soup"}), Say(["The soup ", "is 4.50."])]
        assert await say(tab, "How much is the soup?") == "The soup is 4.50."
        [step] = steps(tab)
        assert (step["name"], step["output"]) == ("price", "4.50")
        assert await tab.reload()
        service.script.append(Say(["As I said."]))
        assert await say(tab, "And how much was it?") == "As I said."
    roles = [message["role"] for message in service.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


# MCP


async def test_mcp(recipe: Any, service: ModelService, monkeypatch: pytest.MonkeyPatch) -> None:
    need_package("mcp")
    from mcp.server import MCPServer

    tools = MCPServer("tools")

    @tools.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    async with served(tools.streamable_http_app()) as address:
        monkeypatch.setenv("MCP_URL", f"{address}/mcp")
        sys.modules.pop("mcp_bot", None)
        async with recipe("mcp_bot", "mcp", "openai") as tab:
            service.script += [Call("add", {"a": 2, "b": 40}), Say(["It is 42."])]
            assert await say(tab, "What is 2 + 40?") == "It is 42."
            [step] = steps(tab)
            assert (step["name"], step["output"]) == ("add", "42")
            service.script += [Call("add", {"a": "two"}), Say(["I cannot."])]
            assert await say(tab, "What is two?") == "I cannot."
            assert "a" in steps(tab)[-1]["error"]
    [tool] = service.requests[0]["tools"]
    assert tool["function"]["description"] == "Add two numbers."
    assert set(tool["function"]["parameters"]["properties"]) == {"a", "b"}
    assert service.requests[1]["messages"][-1]["content"] == "42"


# Files


async def test_questions_about_a_file(recipe: Any, service: ModelService) -> None:
    async with recipe("file_bot", "anthropic") as tab:
        service.script += [Say(["The ", "cat."]), Say(["It ", "sat."])]
        n = await tab.send("Who sat?")
        asked = await tab.receive_event("ask")
        await tab.answer(asked.data["call"], {"files": [await tab.upload("a.txt", "The cat sat.")]})
        assert await tab.wait_for_turn(n) == "done"
        assert tab.messages[-1].content == "The cat."
        assert await say(tab, "What did it do?") == "It sat."
        pdf = await tab.upload("b.pdf", b"%PDF-1.4 \xff", mime="application/pdf")
        service.script.append(Say(["Nothing."]))
        await tab.send("And here?", files=[pdf])
        assert await tab.wait_for_turn() == "done"
        picture = await tab.upload("c.bin", b"\xff\xfe\xff", mime="application/octet-stream")
        await tab.send("And here?", files=[picture])
        assert await tab.wait_for_turn() == "done"
        assert tab.messages[-1].content == "c.bin is neither a text nor a PDF."
    first, text, document = (one["messages"][0]["content"][0] for one in service.requests)
    assert first == text
    assert text["source"]["data"] == "The cat sat."
    assert document["source"]["type"] == "base64"
    session = await ChatSession.objects.aget()
    assert "c.bin" in session.state


# A job in another process

SETTINGS = """
from tests.settings import *

DATABASES["default"]["NAME"] = {database!r}
CHANNEL_LAYERS = {layers!r}
"""
WORKER = """
import django

django.setup()

from celery import Celery

app = Celery("jobs", broker={broker!r})

import job_tasks
"""


@pytest.fixture
def celery(
    redis_url: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Any]]:
    """Starts a worker of Celery, beside this process: they share the database and Redis."""
    from celery import Celery

    layers = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [redis_url], "prefix": "recipes"},
        }
    }
    settings.CHANNEL_LAYERS = layers
    database = str(connection.settings_dict["NAME"])
    (tmp_path / "job_settings.py").write_text(SETTINGS.format(database=database, layers=layers))
    (tmp_path / "job_worker.py").write_text(WORKER.format(broker=redis_url))
    folders = map(str, (tmp_path, RECIPES, RECIPES.parent.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "job_settings")
    app = Celery("jobs", broker=redis_url)
    app.set_default()
    worker = None

    def start() -> None:
        nonlocal worker
        command = [sys.executable, "-m", "celery", "-A", "job_worker", "worker", "--pool", "solo"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with (tmp_path / "log").open("wb") as log:
            worker = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)

    yield start
    if worker is not None:
        worker.terminate()
        worker.wait(30)
    app.close()
    print((tmp_path / "log").read_text())  # noqa: T201  # shown where the test fails


async def test_a_job_in_another_process(recipe: Any, service: ModelService, celery: Any) -> None:
    celery()
    async with recipe("job_bot", "openai") as tab:
        service.script.append(Say(["From ", "far away."]))
        await tab.send("Where are you?")
        assert await tab.wait_for_turn() == "done"
        told = await tab.receive_event("job", timeout=60)
        assert told.data == {"state": "running"}
        told = await tab.receive_event("job", timeout=60)
        assert told.data == {"state": "done"}
        assert tab.messages[-1].content == "From far away."
        assert not tab.messages[-1].streaming
    names = [event.name for event in tab.events]
    assert names[-4:] == ["job", "message", "message_update", "job"], "it was streamed"
    assert [one["content"] for one in service.requests[0]["messages"]] == ["Where are you?"]

"""The protocol for other clients: JSON Schema and AsyncAPI, beside the server that they are of."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from chatsessions import (
    Action,
    AskActionMessage,
    AskFileMessage,
    AskUserMessage,
    Chat,
    ChatSettings,
    ErrorMessage,
    Message,
    Starter,
    Step,
    context,
    send_window_message,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.exceptions import FrameError
from chatsessions.input_widget import Select, Slider, Switch, Tab, Tags, TextInput
from chatsessions.protocol import events, frames
from chatsessions.testing import ChatCommunicator

from .services import required
from .support import wire
from .test_frames import client_frames, jsonish

ROOT = Path(__file__).resolve().parent.parent
#: The schemas of AsyncAPI's own, which npm installs.
ASYNCAPI = ROOT / "frontend/node_modules/@asyncapi/specs/schemas/3.0.0.json"

_spec = importlib.util.spec_from_file_location("wire_documents", ROOT / "docs" / "wire.py")
assert _spec is not None
assert _spec.loader is not None
documents = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(documents)

asyncapi = json.loads((wire.FOLDER / "asyncapi.json").read_text())
examples = list(documents.examples())


def kind_of(side: str, message: Any) -> wire.Kind:
    if side == "C":
        return "ClientFrame"
    return "ServerBundle" if isinstance(message, list) else "ServerFrame"


# The files


@pytest.mark.parametrize("name", documents.FILES)
def test_a_written_file_is_what_the_classes_say(name: str) -> None:
    assert (ROOT / name).read_text() == documents.FILES[name](), "run: make wire"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(wire.schema())


def test_the_asyncapi_document_is_one() -> None:
    if not ASYNCAPI.is_file():
        say_so = pytest.fail if required() else pytest.skip
        say_so("AsyncAPI's own schema is not installed: npm ci --prefix frontend")
    found = Draft7Validator(json.loads(ASYNCAPI.read_text())).iter_errors(asyncapi)
    assert [f"{error.json_path}: {error.message[:200]}" for error in found] == []


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("name", ["frames.schema.json", "asyncapi.json"])
def test_references_lead_somewhere(name: str) -> None:
    found = set(references(json.loads((wire.FOLDER / name).read_text())))
    assert found
    for reference in found:
        file, _, pointer = reference.partition("#/")
        value = json.loads((wire.FOLDER / (file or name)).read_text())
        for key in pointer.split("/"):
            value = value[key]


def test_everything_is_described() -> None:
    shapes = {one.__name__ for one in events.FROM_SERVER.values() if one.__module__ != "builtins"}
    defs = wire.schema()["$defs"]
    assert shapes < set(defs)
    assert [name for name, one in defs.items() if not one.get("description")] == ["Input"]


def test_the_asyncapi_document_has_the_close_codes() -> None:
    codes = asyncapi["channels"]["chat"]["x-close-codes"]
    assert sorted(map(int, codes)) == sorted(frames.CloseCode)


# Examples


@pytest.mark.parametrize(("side", "message"), examples)
def test_an_example_of_the_protocol_page_is_allowed(side: str, message: Any) -> None:
    assert wire.refusals(kind_of(side, message), message) == []
    assert not wire.allows("ServerFrame" if side == "C" else "ClientFrame", message)


def test_the_protocol_page_has_an_example_of_every_frame() -> None:
    """They are those of the AsyncAPI document."""
    messages = asyncapi["components"]["messages"]
    assert len(messages) == len(documents.CLIENT_FRAMES) + len(documents.SERVER_FRAMES)
    assert [name for name, one in messages.items() if not one["examples"]] == []


# The server beside the schema


def codec_takes(text: str) -> bool:
    try:
        frame = frames.decode(text)
        if isinstance(frame, frames.ClientEvent | frames.Answer):
            frames.decode_data(frame)
    except FrameError:
        return False
    return True


@given(client_frames)
def test_what_a_client_may_send_is_allowed(frame: frames.ClientFrame) -> None:
    text = frames.encode(frame)
    assert wire.allows("ClientFrame", json.loads(text)) == codec_takes(text)


some_text = st.sampled_from(["", "quiz", "message", "action", "settings", "answer", "a\n", "ü"])
values = st.one_of(
    some_text,
    st.text("x\x00\x9f", max_size=1) | st.sampled_from(["x" * 36, "x" * 101, "x" * 201]),
    st.integers(-1, 2) | st.just(2**53),
    st.none() | st.booleans(),
    st.just("2f1d1c1e-0000-4000-8000-000000000000") | st.just("2f1d1c1e000040008000000000000000"),
    st.dictionaries(
        st.sampled_from(["KEY", "content", "id", "name", "payload", "files"]), jsonish()
    ),
    st.lists(some_text, max_size=2),
)


@given(
    st.sampled_from(["hello", "event", "answer", "stop", "ack", "end", "ping", "other"]),
    st.fixed_dictionaries({}, optional=dict.fromkeys(["n", "seq"], st.integers(-1, 3))),
    st.dictionaries(
        st.sampled_from(
            ["name", "data", "call", "session", "received", "profile", "client_type", "env", "n"]
        ),
        values,
    ),
)
def test_the_schema_and_the_server_agree(
    kind: str, numbers: dict[str, Any], rest: dict[str, Any]
) -> None:
    """But for what no schema can say: what is no JSON, and halves of surrogate pairs."""
    text = json.dumps({"type": kind, **numbers, **rest})
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return
    assert wire.allows("ClientFrame", json.loads(text)) == codec_takes(text), text


# A conversation


class Recorder:
    """An application around another that notes what passes through its websocket."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.said: list[tuple[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def heard() -> Any:
            message = await receive()
            if message["type"] == "websocket.receive":
                self.said.append(("C", json.loads(message["text"])))
            return message

        async def told(message: Any) -> None:
            if message["type"] == "websocket.send":
                self.said.append(("S", json.loads(message["text"])))
            await send(message)

        await self.application(scope, heard, told)


def bot() -> Chat:
    """Says everything that a bot can say."""
    chat = Chat("wire")

    @chat.starters
    async def starters() -> list[Starter]:
        return [Starter("Begin", "Begin!", "star"), Starter("Again", "Again!")]

    @chat.on_chat_start
    async def start() -> None:
        inputs = [
            Select(id="model", label="Model", values=["a", "b"]),
            Tab(
                id="more",
                label="More",
                inputs=[
                    Slider(id="heat", label="Heat"),
                    Switch(id="on", label="On"),
                    TextInput(id="name", label="Name"),
                    Tags(id="tags", label="Tags"),
                ],
            ),
        ]
        await ChatSettings(inputs).send()

    @chat.on_message
    async def say(message: Message) -> None:
        file = await context.session.save_file("a.txt", "A")
        action = Action("like", {"of": 1}, label="Like")
        await Message("Hi", actions=[action], files=[file], metadata={"a": 1}).send()
        await ErrorMessage("No!").send()
        async with Step("search", input={"q": 1}) as step:
            await step.stream_token("found")
        answer = Message()
        for token in ("one ", "two"):
            await answer.stream_token(token)
        await answer.send()
        await answer.remove()
        message.content += " (read)"
        await message.update()
        name = await AskUserMessage("Name?").send()
        await AskActionMessage("Go?", [Action("yes")], timeout=None).send()
        files = await AskFileMessage("File?", [".txt"]).send()
        await send_window_message({"name": name, "files": len(files or ())})

    @chat.on_action("like")
    async def like(action: Action) -> None:
        await action.remove()
        step = await Step("thanks").send()
        await step.remove()
        await message_of_the_system()

    async def message_of_the_system() -> None:
        await Message("Thanks", type="system_message").send()

    @chat.on_feedback
    async def feedback() -> None:
        await Message("Good to know").send()

    @chat.on_event("fail")
    async def fail() -> None:
        raise ValueError("on purpose")

    @chat.on_event("wait")
    async def wait() -> None:
        answer = Message()
        await answer.stream_token("so far")
        await AskUserMessage("And?").send()

    return chat


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("bundles", [False, True])
async def test_the_frames_of_a_conversation_are_allowed(bundles: bool) -> None:
    application = Recorder(ChatConsumer.as_asgi(chat=bot()))
    tab = ChatCommunicator(application, "/ws/wire/")
    tab._hello.bundles = bundles
    async with tab:
        n = await tab.send("Hello", files=[await tab.upload("b.txt", "B")])
        asked = await tab.receive_event("ask")
        await tab.answer(asked.data["call"], {"content": "Ada"})
        asked = await tab.receive_event("ask")
        await tab.answer(asked.data["call"], {"id": asked.data["actions"][0]["id"]})
        asked = await tab.receive_event("ask")
        await tab.answer(asked.data["call"], {"files": [await tab.upload("c.txt", "C")]})
        await tab.wait_for_turn(n)
        await tab.press("Like")
        await tab.wait_for_turn()
        [hi] = [one for one in tab.messages if one.content == "Hi"]
        await tab.give_feedback(hi, "up", comment="Nice")
        await tab.wait_for_turn()
        await tab.send_event("settings", {"model": "b", "tags": ["x"]})
        await tab.wait_for_turn()
        for name in ("fail", "unknown"):
            await tab.send_event(name, [1])
            assert await tab.wait_for_turn() == "failed"
        await tab.send_event("wait")
        await tab.receive_event("ask")
        assert await tab.reload()
        await tab.stop()
        assert await tab.wait_for_turn() == "stopped"
        await tab.end()

    for side, message in application.said:
        assert wire.refusals(kind_of(side, message), message) == []
    bundled = [message for _, message in application.said if isinstance(message, list)]
    assert bool(bundled) is bundles
    told = [
        frame
        for side, message in application.said
        if side == "S"
        for frame in (message if isinstance(message, list) else [message])
    ]
    assert {frame["type"] for frame in told} >= {
        *("welcome", "event", "accepted", "turn", "token", "stream", "ended")
    }
    own = {frame["name"] for frame in told if frame["type"] == "event" and "n" not in frame}
    assert own >= set(events.FROM_SERVER), "the bot says everything"
    replayed = {frame["name"] for frame in told if frame["type"] == "event" and "n" in frame}
    assert replayed >= {"message", "answer", "action", "feedback", "settings"}

"""A bot that reaches for the parts of Chainlit: its context, session, emitter and types."""

from pathlib import Path

import chatsessions.chainlit as cl
from chatsessions.chainlit.context import (
    ChainlitContext,
    ChainlitContextException,
    context_var,
    get_context,
    local_steps,
)
from chatsessions.chainlit.element import Element, ElementDict
from chatsessions.chainlit.emitter import BaseChainlitEmitter, ChainlitEmitter
from chatsessions.chainlit.input_widget import InputWidget, Select
from chatsessions.chainlit.logger import logger
from chatsessions.chainlit.session import BaseSession, HTTPSession, WebsocketSession
from chatsessions.chainlit.step import StepDict
from chatsessions.chainlit.types import (
    AskActionResponse,
    AskActionSpec,
    AskFileResponse,
    AskFileSpec,
    AskSpec,
    CommandDict,
    FileDict,
    FileReference,
)
from chatsessions.chainlit.user import PersistedUser, UserDict
from chatsessions.chainlit.user_session import SessionAccessor, UserSession

calls: list[str] = []
counted: SessionAccessor[int] = cl.user_session.create_accessor(
    "counted", 0, apply_fn=lambda count: count + 1
)


@cl.cache
def model(name: str) -> str:
    calls.append(name)
    return f"model {name}"


@cl.author_rename
async def rename(orig_author: str) -> str:
    return {"Tool": "The tool"}.get(orig_author, orig_author)


def outside() -> str:
    """What happens where there is no session."""
    try:
        get_context()
    except ChainlitContextException as error:
        return str(error)
    return "a session"


nowhere = outside()


async def ask() -> AskActionResponse | None:
    command: CommandDict = {"id": "search", "description": "Search", "icon": "globe"}
    await cl.context.emitter.set_commands([command])
    modes = [cl.Mode(id="m", name="M", options=[cl.ModeOption(id="a", name="A", default=True)])]
    return await cl.AskActionMessage(
        f"Mode {modes[0].get_default_option().name}?", actions=[cl.Action("yes", {}, label="Yes")]
    ).send()


async def check() -> list[str]:
    """Return what is not as in Chainlit."""
    context: ChainlitContext = get_context()
    session = cl.context.session
    reference: FileReference = await session.persist_file("a.txt", "text/plain", content="abc")
    file: FileDict = session.files[reference["id"]]
    user: PersistedUser | None = cl.user_session.get("user")
    as_dict: UserDict = cl.User(identifier="ada", metadata={"role": "admin"}).to_dict()
    step: StepDict = cl.Step(name="s", type="tool").to_dict()
    element: ElementDict = cl.File(name="f", content="x").to_dict()
    widget: InputWidget = Select(id="s", label="S", values=["a"])
    response = AskFileResponse(id="1", name="a", path="/a", size=1, type="text/plain")
    specs: list[AskSpec] = [
        AskActionSpec(timeout=1, type="action", step_id="1", keys=["a"]),
        AskFileSpec(
            timeout=1, type="file", step_id="1", accept=["*/*"], max_files=1, max_size_mb=1
        ),
    ]
    facts = {
        "the context": context.session is session and context_var.get().session is session,
        "the session": isinstance(session, WebsocketSession) and isinstance(session, BaseSession),
        "by HTTP": not isinstance(session, HTTPSession),
        "by id": WebsocketSession.get_by_id(session.id) is session,
        "another": WebsocketSession.get_by_id("another") is None,
        "its id": session.id == cl.user_session.get("id") and isinstance(session.thread_id, str),
        "the emitter": isinstance(context.emitter, ChainlitEmitter | BaseChainlitEmitter),
        "a file": Path(file["path"]).read_text() == "abc" and Path(file["path"]).suffix == ".txt",
        "its folder": Path(file["path"]).parent == Path(session.files_dir),
        "the user": user is None and as_dict["identifier"] == "ada",
        "a step": step["name"] == "s" and local_steps.get() is not None,
        "an element": isinstance(cl.File(name="f", content="x"), Element),
        "its dict": element["type"] == "file",
        "an input": isinstance(widget, InputWidget) and widget.to_dict()["id"] == "s",
        "answers": response.size == 1 and len(specs) == 2,
        "user_session": isinstance(cl.user_session, UserSession),
        "accessors": (counted.reset(), counted.apply(), counted.get())[1:] == (1, 1),
        "the cache": (model("x"), model("x"), calls) == ("model x", "model x", ["x"]),
        "persistable": isinstance(session.to_persistable(), dict),
        "outside": "context" in nowhere.lower(),
    }
    logger.info("Checked %d facts", len(facts))
    return [name for name, fact in facts.items() if not fact]


@cl.on_message
async def main(message: cl.Message):
    wrong = await check()
    await cl.Message(f"Wrong: {', '.join(wrong) or 'nothing'}", author="Tool").send()
    response = await ask()
    if response:
        await cl.Message(f"{response['name']} {response['label']}").send()

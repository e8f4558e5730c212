"""Signatures, attributes and dicts are those of Chainlit 2.11."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any, get_args

import pytest

import chatsessions.chainlit as cl
from chatsessions.chainlit.context import ChainlitContextException, context_var, get_context
from chatsessions.chainlit.element import Element
from chatsessions.chainlit.emitter import BaseChainlitEmitter, ChainlitEmitter
from chatsessions.chainlit.mode import Mode, ModeOption
from chatsessions.chainlit.names import MODULES
from chatsessions.chainlit.session import ClientType
from chatsessions.chainlit.step import StepDict
from chatsessions.chainlit.types import (
    ActionSpec,
    AskActionSpec,
    AskFileResponse,
    AskFileSpec,
    AskSpec,
    ChatProfile,
    FileSpec,
    InputWidgetType,
    Starter,
    StarterCategory,
)
from chatsessions.chainlit.user import PersistedUserFields

#: What is given by position, in order.
SIGNATURES = {
    "Message": "content author language actions elements type metadata tags id parent_id command "
    "modes created_at",
    "ErrorMessage": "content author fail_on_persist_error",
    "AskUserMessage": "content author type timeout raise_on_timeout",
    "AskFileMessage": "content accept max_size_mb max_files author type timeout raise_on_timeout",
    "AskActionMessage": "content actions author timeout raise_on_timeout",
    "Action": "name payload label tooltip icon forId id",
    "ChatProfile": "name markdown_description icon display_name default starters config_overrides",
    "Starter": "label message command icon",
    "StarterCategory": "label icon starters",
    "Mode": "id name options",
    "ModeOption": "id name description icon default",
    "Step": "name type id parent_id elements metadata tags language icon default_open "
    "auto_collapse show_input thread_id",
    "User": "identifier display_name metadata",
    "PersistedUser": "id createdAt identifier display_name metadata",
    "Task": "title status forId",
    "ChatSettings": "inputs",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_is_given_by_position(name: str) -> None:
    assert list(inspect.signature(getattr(cl, name)).parameters) == SIGNATURES[name].split()


def test_times_to_answer() -> None:
    assert cl.AskUserMessage("?").timeout == 60
    assert cl.AskFileMessage("?", ["text/csv"]).timeout == 90
    assert cl.AskFileMessage("?", ["text/csv"]).max_size_mb == 2
    assert cl.AskActionMessage("?", [cl.Action("a", {})]).timeout == 90


def test_a_message_and_its_dict() -> None:
    message = cl.Message("hi", "Ada", None, None, None, "system_message", {"a": 1}, ["t"], "id")
    assert (message.actions, message.elements, message.streaming) == ([], [], False)
    found = message.to_dict()
    assert found == {
        "id": "id",
        "threadId": "",
        "parentId": None,
        "createdAt": None,
        "command": None,
        "modes": None,
        "start": None,
        "end": None,
        "output": "hi",
        "name": "Ada",
        "type": "system_message",
        "language": None,
        "streaming": False,
        "isError": False,
        "waitForAnswer": False,
        "metadata": {"a": 1},
        "tags": ["t"],
    }
    again = cl.Message.from_dict(found)
    assert again.to_dict() == found | {"tags": None}


def test_what_is_no_text_as_content() -> None:
    assert (cl.Message({"ä": 1}).content, cl.Message({"ä": 1}).language) == (
        '{\n    "ä": 1\n}',
        "json",
    )
    assert cl.Message({"a": {1}}).language == "text"
    assert (cl.Message(4).content, cl.Message(4).language) == ("4", "text")
    assert cl.Message("x", author=None).author == "Assistant"


def test_attributes_can_be_set() -> None:
    message = cl.Message("")
    message.content += "more"
    message.author, message.id, message.type = "Bob", "other", "user_message"
    message.actions, message.elements, message.tags = [], [], ["x"]
    assert (message.content, message.author, message.id) == ("more", "Bob", "other")
    error = cl.ErrorMessage("oh")
    assert error.is_error
    assert error.to_dict()["isError"] is True
    assert not isinstance(error, cl.Message)


def test_an_action_and_its_dict() -> None:
    action = cl.Action("go", {"v": 1}, "Go", "tip", "x", None, "id")
    expected: dict[str, Any] = {
        "name": "go",
        "payload": {"v": 1},
        "label": "Go",
        "tooltip": "tip",
        "icon": "x",
        "forId": None,
        "id": "id",
    }
    assert action.to_dict() == expected
    assert cl.Action.from_dict(expected) == action


def test_plain_data() -> None:
    user = cl.User("ada")
    assert user.to_dict() == {"identifier": "ada", "display_name": None, "metadata": {}}
    assert cl.PersistedUser(identifier="ada", id="1", createdAt="").identifier == "ada"
    persisted = cl.PersistedUser("1", "today", "ada", "Ada")
    assert isinstance(persisted, PersistedUserFields)
    assert (persisted.id, persisted.createdAt, persisted.identifier) == ("1", "today", "ada")
    assert Starter("a", "b").to_dict()["message"] == "b"
    assert StarterCategory("c", starters=[Starter("a", "b")]).starters[0].label == "a"
    assert ChatProfile("a", "b", None, "c").display_name == "c"
    mode = Mode("llm", "Model", [ModeOption("a", "A"), ModeOption("b", "B", default=True)])
    assert mode.get_default_option() == mode.get_option_by_id("b")
    assert Mode("x", "X").get_default_option() is None
    assert mode.to_dict()["options"][0]["id"] == "a"
    assert AskFileResponse(id="1", name="n", path="p", size=1, type="t").path == "p"
    assert AskSpec(1, "text", "s").to_dict()["type"] == "text"
    assert AskFileSpec(1, "file", "s", accept=[], max_files=1, max_size_mb=2).max_files == 1
    assert isinstance(AskFileSpec(1, "file", "s", [], 1, 2), FileSpec)
    assert AskActionSpec(1, "action", "s", keys=["k"]).keys == ["k"]
    assert issubclass(AskActionSpec, ActionSpec)
    assert "datepicker" in get_args(InputWidgetType)
    assert "webapp" in get_args(ClientType)
    assert "output" in StepDict.__annotations__


@pytest.mark.parametrize(
    "made",
    [
        ChatProfile("a", "b", starters=[Starter("l", "m")]),
        Starter("l", "m", icon="x"),
        StarterCategory("c", starters=[Starter("l", "m")]),
        Mode("llm", "Model", [ModeOption("a", "A", default=True)]),
        ModeOption("a", "A"),
        cl.User("ada", metadata={"a": 1}),
        cl.PersistedUser("1", "today", "ada"),
        cl.Action("go", {"v": [1]}),
        AskFileSpec(1, "file", "s", ["text/csv"], 1, 2),
    ],
    ids=lambda made: type(made).__name__,
)
def test_as_a_dict_and_as_json_and_back(made: Any) -> None:
    kind = type(made)
    assert kind.from_dict(made.to_dict() | {"more": 1}) == made
    assert kind.from_json(made.to_json(indent=1)) == made
    with pytest.raises(ValueError, match="missing required field"):
        kind.from_dict({})


def test_what_a_dict_lacks_may_be_none() -> None:
    with pytest.raises(ValueError, match="Expected `str`"):
        cl.User.from_dict({}, infer_missing=True)
    assert cl.User("ada", metadata={"a": Path("b")}).to_dict(encode_json=True)["metadata"] == {
        "a": "b"
    }


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("Switch", ""),
        ("Checkbox", ""),
        ("Slider", "min max step"),
        ("Select", "initial_index initial_value values items"),
        ("RadioGroup", "initial_index initial_value values items"),
        ("MultiSelect", "values items"),
        ("TextInput", "placeholder multiline"),
        ("NumberInput", "placeholder"),
        ("Tags", "values"),
        ("DatePicker", "mode min_date max_date format placeholder"),
    ],
)
def test_an_input_by_position(name: str, others: str) -> None:
    expected = ["id", "label", "initial", "tooltip", "description", "disabled", "type"]
    kind = getattr(cl.input_widget, name)
    assert list(inspect.signature(kind).parameters) == expected + others.split()
    choices = {"values": ["a"]} if "values" in others else {}
    assert kind("i", "I", **choices).type in get_args(InputWidgetType)
    given = kind("i", "I", type="select", **choices).to_dict()
    assert given["type"] == "select"
    assert "values" not in given


@pytest.mark.parametrize("module", [name for name, what in MODULES.items() if not what.text])
def test_what_is_internal_to_chainlit_says_so(module: str) -> None:
    found = importlib.import_module(f"chatsessions.chainlit.{module}")
    with pytest.raises(AttributeError, match=r"internal there.*Coming from Chainlit"):
        found.CL_RUN_NAMES  # noqa: B018
    with pytest.raises(ImportError, match=r"internal there.*Coming from Chainlit"):
        exec(f"from chatsessions.chainlit.{module} import stub_step")  # noqa: S102
    assert getattr(found, "__wrapped__", None) is None


def test_a_step_and_its_dict() -> None:
    step = cl.Step(name="search", type="tool", id="s", icon="x", metadata={"a": 1})
    step.input = {"q": b"raw"}
    step.output = [1, (2,)]
    assert step.input == '{\n    "q": "STRIPPED_BINARY_DATA"\n}'
    assert step.language == "json"
    found = step.to_dict()
    assert found["metadata"] == {"icon": "x", "a": 1}
    assert (found["name"], found["type"], found["isError"]) == ("search", "tool", False)
    step.output = None
    assert step.output == ""


def test_elements() -> None:
    with pytest.raises(ValueError, match="Must provide url, path or content"):
        cl.Image(name="x")
    for kind in (cl.Image, cl.Text, cl.File, cl.Pdf, cl.Audio, cl.Video):
        element: Element = kind(name="x", content="c")
        assert element.to_dict()["name"] == "x"
        assert type(element).from_dict(element.to_dict() | {"url": "u"}).type == element.type
    assert cl.Pdf(name="x", content="c").mime == "application/pdf"
    assert cl.File.infer_type_from_mime("image/png") == "image"
    assert cl.File.infer_type_from_mime("text/csv") == "file"


def test_what_is_no_figure_is_no_picture() -> None:
    with pytest.raises(TypeError, match=r"matplotlib\.figure\.Figure"):
        cl.Pyplot(name="plot", figure=1)


def test_every_method_of_the_emitter_is_there() -> None:
    names = """
        emit emit_call resume_thread send_resume_thread_error send_element update_audio_connection
        send_audio_chunk send_audio_interrupt send_step update_step delete_step send_timeout clear
        flush_thread_queues init_thread process_message send_ask_user send_call_fn
        update_token_count task_start task_end stream_start send_token set_chat_settings
        set_commands set_modes set_favorites send_window_message send_toast
    """
    assert [name for name in names.split() if not hasattr(ChainlitEmitter, name)] == []
    assert issubclass(ChainlitEmitter, BaseChainlitEmitter)


async def test_without_a_session() -> None:
    for use in (
        get_context,
        context_var.get,
        lambda: cl.context.session,
        lambda: cl.user_session.get("x"),
        lambda: cl.user_session.set("x", 1),
        cl.chat_context.get,
    ):
        with pytest.raises(ChainlitContextException, match="Chainlit context not found"):
            use()
    assert context_var.get(None) is None
    for coroutine in (
        cl.Message("x").send(),
        cl.Message("x").update(),
        cl.Message("x").remove(),
        cl.Message("x").stream_token("x"),
        cl.AskUserMessage("x").send(),
        cl.ChatSettings([]).send(),
        cl.TaskList().send(),
        cl.send_window_message(1),
    ):
        with pytest.raises(LookupError):
            await coroutine


def test_cache_runs_once_for_the_same_arguments() -> None:
    calls = []

    @cl.cache
    def slow(*args: int, **kwargs: int) -> int:
        calls.append((args, kwargs))
        return len(calls)

    assert [slow(1), slow(1), slow(1, x=2), slow(1)] == [1, 1, 2, 1]

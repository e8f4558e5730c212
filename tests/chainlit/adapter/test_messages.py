"""Messages, questions, actions and files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import chatsessions
import chatsessions.chainlit as cl
from chatsessions import module_chat
from chatsessions.chainlit.action import Action
from chatsessions.chainlit.types import AskActionResponse, AskFileResponse
from tests.support.sessions import until

from .conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


def text_of(path: str | Path) -> str:
    """What is in a file."""
    return Path(path).read_text()


async def test_what_send_update_and_remove_return(visit: Visit) -> None:
    @cl.on_message
    async def message(message: cl.Message) -> None:
        unseen: Any = {"tags": ["t"], "parent_id": message.id, "command": "c", "modes": {"m": "a"}}
        answer = cl.Message("one", "Ada", metadata={"a": 1}, language="python", **unseen)
        assert await answer.send() is answer
        assert answer.created_at is not None
        answer.content = "two"
        assert await answer.update() is True
        gone = await cl.Message("gone").send()
        assert await gone.remove() is True

    async with visit() as tab:
        assert await tab.tell("hello") == ["two"]
        [answer] = [one for one in tab.messages if one.author == "Ada"]
        assert answer.metadata == {"a": 1, "language": "python"}
        [sent] = [one.data for one in tab.events if one.data.get("content") == "one"]
        assert not {"tags", "parent_id", "parentId", "command", "modes"} & set(sent)


async def test_a_message_that_was_stored_keeps_its_files_when_it_is_updated(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        sent = cl.Message("one", elements=[cl.File(name="a.txt", content=b"text")])
        await sent.send()
        loaded = cl.Message.from_storable(sent.to_storable())
        loaded.content = "two"
        await loaded.update()

    async with visit() as tab:
        assert await tab.tell("hello") == ["two"]
        assert [file["name"] for file in tab.messages[-1].files] == ["a.txt"]


async def test_texts_are_markdown_unless_they_have_a_language(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        await cl.Message("a").send()
        await cl.Message("b", language="python").send()
        await cl.Message({"c": 1}).send()
        await cl.Message("").stream_token("d")
        await cl.ErrorMessage("e").send()
        await cl.AskUserMessage("f", timeout=0.01).send()  # type: ignore[arg-type]
        async with cl.Step("g") as one:
            one.output = "g"
        async with cl.Step("h") as two:
            two.output = {"h": 1}

    async with visit() as tab:
        await tab.tell("**hello**")
        assert [one.format for one in tab.messages] == [
            "text",
            "markdown",
            "text",
            "text",
            "markdown",
            "markdown",
        ]
        told = [event.data.get("format") for event in tab.events if event.name == "ask"]
        assert told == ["markdown"]
        told = [event.data.get("format") for event in tab.events if event.name == "step_update"]
        assert told == ["markdown", None]


async def test_a_bot_may_say_that_its_texts_are_plain(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        await cl.Message("a").send()

    module_chat(__name__).message_format = "text"
    async with visit() as tab:
        await tab.tell("hello")
        assert {one.format for one in tab.messages} == {"text"}


async def test_a_message_is_streamed(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        answer = cl.Message("")
        for token in ("a", "", None, "b"):
            await answer.stream_token(token)  # type: ignore[arg-type]
        assert answer.content == "ab"
        await answer.stream_token("all", True)
        await answer.send()
        await answer.update()
        await cl.ErrorMessage("failed").send()

    async with visit() as tab:
        assert await tab.tell("hello") == ["all", "failed"]
        assert tab.messages[-1].metadata == {"error": True}


async def test_an_author_is_renamed(visit: Visit) -> None:
    @cl.author_rename
    async def rename(author: str) -> str:
        return {"Assistant": "Jarvis"}.get(author, author)

    @cl.on_message
    def message() -> None:
        cl.run_sync(cl.Message("hi").send())

    async with visit() as tab:
        assert await tab.tell("hello") == ["hi"]
        assert tab.messages[-1].author == "Jarvis"


async def test_the_users_message(visit: Visit) -> None:
    @cl.on_message
    async def message(message: cl.Message) -> None:
        assert (message.type, message.author) == ("user_message", "User")
        [element] = message.elements
        assert (element.name, element.type, element.mime) == ("t.csv", "file", "text/csv")
        path = Path(element.path)
        assert path.suffix == ".csv"
        session = cl.context.session
        assert session.files[element.id]["path"] == path
        assert path.parent == session.files_dir
        await cl.Message(text_of(path)).send()

    async with visit() as tab:
        file = await tab.upload("t.csv", "1,2")
        assert await tab.tell("look", files=[file]) == ["1,2"]


async def test_the_files_of_the_users_message_are_there_once_when_it_is_updated(
    visit: Visit,
) -> None:
    """Until they are removed; what is added comes after them."""

    @cl.on_message
    async def message(message: cl.Message) -> None:
        message.content = "looked"
        await message.update()
        await cl.File(name="late.txt", content="x").send(for_id=message.id)
        [given] = message.elements
        message.elements = [cl.File(name="b.txt", content="b")]
        await message.update()
        await given.remove()
        for element in message.elements:
            await element.remove()

    async with visit() as tab:
        file = await tab.upload("a.txt", "a")
        await tab.tell("look", files=[file])
        updates = [event.data for event in tab.events if event.name == "message_update"]
        names = [[file["name"] for file in data.get("files", [])] for data in updates]
        assert names == [
            ["a.txt"],
            ["a.txt", "late.txt"],
            ["a.txt", "late.txt", "b.txt"],
            ["late.txt", "b.txt"],
            ["late.txt"],
        ]
        assert tab.messages[0].content == "looked"
        assert [file["name"] for file in tab.messages[0].files] == ["late.txt"]


async def test_the_users_message_has_its_file_once_when_it_was_stored(visit: Visit) -> None:
    @cl.on_message
    async def message(message: cl.Message) -> None:
        if message.content == "look":
            await message.update()
            cl.user_session.set("first", message)
        else:
            first = cl.user_session.get("first")
            first.content = "looked"
            await first.update()

    async with visit() as tab:
        await tab.tell("look", files=[await tab.upload("a.txt", "a")])
        await tab.move()
        await tab.tell("again")
        assert tab.messages[0].content == "looked"
        assert [file["name"] for file in tab.messages[0].files] == ["a.txt"]


async def test_a_question_for_a_text(visit: Visit) -> None:
    answers: list[Any] = []

    @cl.on_message
    async def message(message: cl.Message) -> None:
        ask = cl.AskUserMessage("Name?", "Ada", "assistant_message", 30, False)
        answers.append((ask.id, await ask.send()))
        assert await cl.AskUserMessage("Again?", timeout=0.05).send() is None
        with pytest.raises(TimeoutError):
            await cl.AskUserMessage("Again?", timeout=0.05, raise_on_timeout=True).send()

    async with visit() as tab:
        n = await tab.send("hello")
        asked = (await tab.receive_event("ask")).data
        assert (asked["content"], asked["author"], asked["timeout"]) == ("Name?", "Ada", 30)
        await tab.answer(asked["call"], {"content": "Bob"})
        assert await tab.wait_for_turn(n) == "done"
    [(asked_id, answer)] = answers
    assert (answer["output"], answer["forId"], answer["type"]) == ("Bob", asked_id, "user_message")
    assert answer["id"] != asked_id


async def test_a_question_that_is_taken_back(visit: Visit) -> None:
    asks: list[cl.AskUserMessage] = []

    @cl.on_message
    async def message() -> None:
        asks.append(cl.AskUserMessage("Name?"))
        assert await asks[0].send() is None
        await cl.Message("went on").send()

    @cl.on_window_message
    async def window() -> None:
        assert await asks[0].remove() is True
        assert await asks[0].remove() is True  # as a click that comes twice may do

    async with visit() as tab:
        n = await tab.send("hello")
        await tab.receive_event("ask")
        await tab.send_event("window_message", 1)
        assert await tab.wait_for_turn(n) == "done"
        assert tab.messages[-1].content == "went on"
        assert (await tab.receive_event("ask_closed")).data["outcome"] == "cancelled"


@pytest.mark.parametrize("rounds", range(4))
async def test_a_question_that_is_taken_back_as_it_is_answered(visit: Visit, rounds: int) -> None:
    """Its handler was cancelled, though it had its answer and had gone on."""
    answers: list[Any] = []

    async def take_back(question: cl.AskUserMessage) -> None:
        asks = chatsessions.context.emitter._sink._asks  # type: ignore[attr-defined]
        await until(lambda: asks._waiting)
        [asked] = asks._waiting
        while not asked.outcome.done():  # noqa: ASYNC110, RUF100  # the moment is what matters
            await asyncio.sleep(0)
        for _ in range(rounds):
            await asyncio.sleep(0)
        await question.remove()

    @cl.on_message
    async def message() -> None:
        question = cl.AskUserMessage("Name?")
        chatsessions.spawn(take_back(question))
        answers.append(await question.send())
        await asyncio.sleep(0.01)
        await cl.Message("went on").send()

    async with visit() as tab:
        n = await tab.send("hello")
        call = (await tab.receive_event("ask")).data["call"]
        await tab.answer(call, {"content": "Bob"})
        assert await tab.wait_for_turn(n) == "done"
        assert tab.messages[-1].content == "went on"
    assert [answer and answer["output"] for answer in answers] in ([None], ["Bob"])


async def test_a_question_for_a_choice(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        ask = cl.AskActionMessage(
            "Which?", [cl.Action("a", {"v": 1}, label="A"), Action(name="b", payload={}, label="B")]
        )
        answer: AskActionResponse | None = await ask.send()
        assert answer is not None
        assert answer["forId"] == ask.id
        assert ask.content == "**Selected:** A"
        await cl.Message(f"{answer['name']} {answer['payload']} {answer['label']}").send()

    async with visit() as tab:
        n = await tab.send("hello")
        await tab.press("A")
        assert await tab.wait_for_turn(n) == "done"
        assert tab.messages[-1].content == "a {'v': 1} A"


async def test_a_question_for_files(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        files = await cl.AskFileMessage("A table?", {"text/csv": [".csv"]}).send()
        assert files is not None
        assert isinstance(files[0], AskFileResponse)
        await cl.Message(f"{files[0].name} {text_of(files[0].path)}").send()
        assert await cl.AskFileMessage("Any?", accept="*/*", timeout=0.05).send() is None

    async with visit() as tab:
        n = await tab.send("hello")
        call = (await tab.receive_event("ask")).data["call"]
        await tab.answer(call, {"files": [await tab.upload("t.csv", "1,2")]})
        assert await tab.wait_for_turn(n) == "done"
        assert "t.csv 1,2" in [one.content for one in tab.messages]
        asked = [event.data for event in tab.events if event.name == "ask"]
        assert asked[-1]["accept"] == ["*/*"]


async def test_actions(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        sent = await cl.Message("Press", actions=[cl.Action("go", {"v": 1}, label="Go")]).send()
        assert sent.actions[0].forId == sent.id
        more = cl.Action("go", {"v": 2}, label="More")
        await more.send(for_id=sent.id)
        assert more.forId == sent.id
        with pytest.raises(ValueError, match="no message"):
            await more.send(for_id="other")

    @cl.action_callback("go")
    async def go(action: cl.Action) -> None:
        await cl.Message(f"{action.payload} {action.forId is not None}").send()
        await action.remove()

    async with visit() as tab:
        assert await tab.tell("hello") == ["Press"]
        for label, said in (("More", "{'v': 2} True"), ("Go", "{'v': 1} True")):
            assert await tab.wait_for_turn(await tab.press(label)) == "done"
            assert tab.messages[-1].content == said
        [press] = [one for one in tab.messages if one.content == "Press"]
        assert press.actions == []


async def test_a_removed_button_stays_away_from_its_message_and_can_be_sent_again(
    visit: Visit,
) -> None:
    """Also if the message, with its buttons of before, is read again from the user session."""

    @cl.on_message
    async def message(given: cl.Message) -> None:
        sent = cl.user_session.get("sent")
        if sent is None:
            both = [cl.Action("go", {}, label="Go"), cl.Action("go", {}, label="Stay")]
            cl.user_session.set("sent", await cl.Message("Press", actions=both).send())
            cl.user_session.set("go", both[0])
        elif given.content == "again":
            await cl.user_session.get("go").send(for_id=sent.id)
        else:
            sent.content = given.content
            await sent.update()

    @cl.action_callback("go")
    async def go(action: cl.Action) -> None:
        await action.remove()

    def shown() -> tuple[str, list[str]]:
        [press] = [one for one in tab.messages if one.author != "User"]
        return press.content, [one["label"] for one in press.actions]

    async with visit() as tab:
        await tab.tell("hello")
        assert await tab.wait_for_turn(await tab.press("Go")) == "done"
        await tab.tell("in memory")
        assert shown() == ("in memory", ["Stay"])
        await tab.tell("again")
        assert sorted(shown()[1]) == ["Go", "Stay"]
        assert await tab.wait_for_turn(await tab.press("Go")) == "done"
        await tab.move()
        await tab.tell("loaded")
        assert shown() == ("loaded", ["Stay"])


async def test_the_actions_of_a_message_go_together(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        sent = await cl.Message("Press", actions=[cl.Action("a", {}), cl.Action("b", {})]).send()
        await sent.remove_actions()

    async with visit() as tab:
        await tab.tell("hello")
        assert tab.messages[-1].actions == []


class Figure:
    """What a figure of matplotlib does with a file."""

    def savefig(self, target: Any, **_options: Any) -> None:
        target.write(b"\x89PNG")


async def test_elements_are_files_of_the_session(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 30

    @cl.on_message
    async def message() -> None:
        elements = [
            cl.Text(name="Source", content="words"),
            cl.Image(name="cat", content=png),
            cl.Pdf(name="doc.pdf", path=str(tmp_path / "a.pdf")),
            cl.Audio(name="said.wav", content=b"RIFF"),
            cl.Video(name="film", content=b"0"),
            cl.File(name="t.csv", content="1,2"),
            cl.Pyplot(name="plot", figure=Figure()),
            cl.Image(name="far", url="https://example.com/far.png"),
        ]
        sent = await cl.Message("Look", elements=elements).send()
        assert elements[0].for_id == sent.id
        late = cl.File(name="late.txt", content="x")
        await late.send(for_id=sent.id)
        await elements[1].remove()
        await cl.File(name="alone.txt", content="x").send(for_id="")

    async with visit() as tab:
        assert await tab.tell("hello") == ["Look", "far: https://example.com/far.png", "alone.txt"]
        [look] = [one for one in tab.messages if one.content == "Look"]
        assert [(file["name"], file["mime"]) for file in look.files] == [
            ("Source", "text/plain"),
            ("doc.pdf", "application/pdf"),
            ("said.wav", "audio/x-wav"),
            ("film", "video/mp4"),
            ("t.csv", "text/csv"),
            ("plot", "image/png"),
            ("late.txt", "text/plain"),
        ]


async def test_an_address_that_comes_with_an_update_is_said_once(visit: Visit) -> None:
    """As the sources of an answer do, which was streamed before. It was not shown."""

    @cl.on_message
    async def message() -> None:
        answer = cl.Message("")
        await answer.stream_token("It rains.")
        answer.elements = [cl.Pdf(name="Source", url="https://example.com/rain.pdf")]
        await answer.update()
        answer.content = "It pours."
        await answer.update()

    async with visit() as tab:
        assert await tab.tell("hello") == ["It pours.", "Source: https://example.com/rain.pdf"]


async def test_what_an_element_shows_stays_until_it_is_removed(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        answer = await cl.Message("Look", elements=[cl.File(name="a.txt", content="a")]).send()
        late = cl.File(name="late.txt", content="x")
        await late.send(for_id=answer.id)
        answer.elements = [cl.File(name="b.txt", content="b")]
        await answer.update()
        await late.remove()

    async with visit() as tab:
        assert await tab.tell("hello") == ["Look"]
        assert [file["name"] for file in tab.messages[-1].files] == ["a.txt", "b.txt"]
        updates = [e.data["files"] for e in tab.events if e.name == "message_update"]
        names = [[file["name"] for file in files] for files in updates]
        assert names == [["a.txt", "late.txt"], ["a.txt", "late.txt", "b.txt"], ["a.txt", "b.txt"]]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (cl.Image, {"size": "large", "display": "side"}),
        (cl.Pdf, {"page": 2, "display": "page"}),
        (cl.Audio, {"auto_play": True}),
        (cl.Video, {"player_config": {"youtube": {}}}),
    ],
)
async def test_what_the_page_does_not_do_changes_nothing(
    visit: Visit, kind: Any, options: dict[str, Any]
) -> None:
    @cl.on_message
    async def message() -> None:
        element = kind(name="it", content=b"0", **options)
        assert {key: getattr(element, key) for key in options} == options
        await cl.Message("Look", elements=[element]).send()

    async with visit() as tab:
        assert await tab.tell("hello") == ["Look"]
        assert [file["name"] for file in tab.messages[-1].files] == ["it"]


async def test_a_list_of_tasks_is_a_message_that_is_updated(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        tasks = cl.TaskList()
        task = cl.Task("read", status=cl.TaskStatus.RUNNING)
        await tasks.add_task(task)
        await tasks.add_task(cl.Task(title="write"))
        await tasks.send()
        task.status, tasks.status = cl.TaskStatus.DONE, "Half"
        await tasks.update()

    async with visit() as tab:
        assert await tab.tell("hello") == ["Half\n☑ read\n☐ write"]
        assert tab.messages[-1].metadata["tasklist"]["tasks"][0]["status"] == "done"


async def test_the_conversation_as_a_list(visit: Visit) -> None:
    @cl.on_message
    async def message(message: cl.Message) -> None:
        if message.content == "forget":
            first = cl.chat_context.get()[0]
            assert cl.chat_context.remove(first) is True
            assert cl.chat_context.remove(first) is False
        cl.chat_context.add(cl.Message("be kind", type="system_message"))
        cl.chat_context.get()[0].content = "changed"  # a copy
        said = cl.chat_context.to_openai()
        await cl.Message(" ".join(f"{one['role'][0]}:{one['content']}" for one in said)).send()
        if message.content == "clear":
            cl.chat_context.clear()
            assert cl.chat_context.get() == []

    async with visit() as tab:
        assert await tab.tell("one") == ["u:one s:be kind"]
        [said] = await tab.tell("forget")
        assert said == "s:be kind a:u:one s:be kind u:forget s:be kind"
        await tab.move()
        [said] = await tab.tell("clear")
        assert said.startswith("s:be kind a:u:one s:be kind u:forget")
        assert await tab.tell("new") == ["u:new s:be kind"]


async def test_elements_are_no_part_of_the_conversation(visit: Visit) -> None:
    @cl.on_message
    async def message(message: cl.Message) -> None:
        tasks = cl.TaskList(status="At work")
        await tasks.add_task(cl.Task("One"))
        await tasks.send()
        async with cl.Step(name="look", elements=[cl.Text(name="source", content="a text")]):
            pass
        image = cl.Image(name="picture", url="https://example.com/picture.png")
        await cl.Message("Here it is", elements=[image]).send()
        assert [one.content for one in cl.chat_context.get()] == ["show", "Here it is"]
        assert cl.chat_context.to_openai() == [
            {"role": "user", "content": "show"},
            {"role": "assistant", "content": "Here it is"},
        ]
        await cl.ErrorMessage("no").send()
        await cl.Message("").send()
        assert [one["content"] for one in cl.chat_context.to_openai()][2:] == ["no", ""]

    async with visit() as tab:
        assert len(await tab.tell("show")) == 6

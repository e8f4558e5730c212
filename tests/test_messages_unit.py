"""Messages and the emitter beneath them, over a sink that writes down what it is given."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

import msgspec
import pytest
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st

from chatsessions.conf import settings
from chatsessions.exceptions import (
    ContextNotFound,
    NotStorable,
    StorageError,
    StoreUnavailable,
    TooLarge,
    TurnStopped,
)
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.context import Context, use_context
from chatsessions.handlers.emitter import Emitter, Streaming, Turn
from chatsessions.handlers.messages import DEFAULT_AUTHOR, ErrorMessage, Message
from chatsessions.handlers.user_session import UserSession
from chatsessions.storage.serializer import dumps, loads

from .support.sessions import make_session

ID = UUID("11111111-1111-4111-8111-111111111111")
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def no_task(*_: object) -> NoReturn:
    raise AssertionError("nothing is spawned here")


@dataclass
class FakeSink:
    """An owner's sink: what it was given, in order, and what it fails with next."""

    loop: asyncio.AbstractEventLoop
    done: list[tuple[Any, ...]] = field(default_factory=list)
    turns: list[Turn | None] = field(default_factory=list)
    refuses: Exception | None = None
    has_no_room: Exception | None = None
    seq: int = 0

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        assert actions == []

    def append(self, name: str, data: bytes, turn: Turn | None) -> int:
        self._check(turn)
        self.seq += 1
        self.done.append((name, msgspec.json.decode(data)))
        return self.seq

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        self._check(turn)
        self.done.append(("open", stream.id))

    def write(
        self, stream: Streaming, text: str, turn: Turn | None, *, replaces: bool = False
    ) -> None:
        self._check(turn)
        if replaces:
            stream.replace_content(text)
        else:
            stream.add_content(text)
        self.done.append(("replace" if replaces else "write", stream.id, text))

    def close_stream(self, stream_id: str) -> None:
        self.done.append(("close", stream_id))

    is_crowded = True

    async def room(self) -> None:
        if self.has_no_room is not None:
            error, self.has_no_room = self.has_no_room, None
            raise error

    async def flush(self, turn: Turn | None = None) -> None:
        self.done.append(("flush",))

    def _check(self, turn: Turn | None) -> None:
        if self.refuses is not None:
            error, self.refuses = self.refuses, None
            raise error
        self.turns.append(turn)

    @property
    def names(self) -> list[str]:
        return [step[0] for step in self.done]

    @property
    def written(self) -> list[str]:
        """The tokens, of whichever message."""
        return [step[2] for step in self.done if step[0] == "write"]

    def data(self, name: str) -> dict[str, Any]:
        """The data of the only event of this name."""
        [found] = [step[1] for step in self.done if step[0] == name]
        assert isinstance(found, dict)
        return found


@pytest.fixture
async def sink() -> FakeSink:
    return FakeSink(asyncio.get_running_loop())


@pytest.fixture
def turn() -> Turn:
    return Turn(3, "message")


@pytest.fixture
def here(sink: FakeSink, turn: Turn) -> Iterator[Context]:
    """A context that is current for the test."""
    session = make_session()
    context = Context(
        session=session,
        user_session=UserSession(
            session, {}, max_bytes=1000, before_change=lambda: None, after_change=lambda: None
        ),
        emitter=Emitter(sink, turn),
        chat=Chat("test"),
        turn=turn,
        spawn=no_task,
    )
    with use_context(context):
        yield context


# What a message is


def test_a_message_has_an_id_an_author_and_a_time() -> None:
    first, second = Message("hi"), Message("hi")
    assert first.content == "hi"
    assert first.author == DEFAULT_AUTHOR == "Assistant"
    assert first.metadata is None
    assert str(UUID(first.id)) == first.id
    assert first.id != second.id
    assert first.created_at.tzinfo is not None
    assert abs(datetime.now(UTC) - first.created_at) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("text", "text"),
        ("", ""),
        ({"a": [1, None]}, '{\n  "a": [\n    1,\n    null\n  ]\n}'),
        ([1, "zwei"], '[\n  1,\n  "zwei"\n]'),
        ({}, "{}"),
        (OrderedDict(a=1), '{\n  "a": 1\n}'),
        (5, "5"),
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        (Decimal("1.10"), "1.10"),
        (ValueError("no such thing"), "no such thing"),
        (lazystr("lazy"), "lazy"),
    ],
)
def test_content_becomes_text(content: object, text: str) -> None:
    """A dict or list is shown as JSON, anything else by ``str``."""
    assert Message(content).content == text
    message = Message()
    message.content = content
    assert message.content == text


def test_the_event_of_a_message() -> None:
    message = Message("hi", author="Ada", id=str(ID), created_at=WHEN)
    assert message.as_event() == {
        "id": str(ID),
        "author": "Ada",
        "content": "hi",
        "created_at": WHEN,
        "streaming": False,
    }


def test_metadata_is_in_the_event_where_there_is_any() -> None:
    assert Message("hi", metadata={"a": 1}).as_event()["metadata"] == {"a": 1}
    assert Message("hi", metadata={}).as_event()["metadata"] == {}
    assert "metadata" not in Message("hi").as_event()


def test_an_error_message_says_so_in_its_metadata() -> None:
    assert ErrorMessage("oh").as_event()["metadata"] == {"error": True}
    with_more = ErrorMessage("oh", metadata={"code": 5})
    assert with_more.as_event()["metadata"] == {"code": 5, "error": True}
    assert with_more.metadata == {"code": 5}


def test_a_messages_repr_is_short() -> None:
    text = repr(Message("x" * 1000, author="Ada", id=str(ID)))
    assert "Ada" in text
    assert str(ID) in text
    assert len(text) < 200


# Stored in user_session


@given(
    st.sampled_from([Message, ErrorMessage]),
    st.text(),
    st.text(),
    st.none() | st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers())),
    st.datetimes(timezones=st.just(UTC)),
)
def test_any_message_comes_back(
    kind: type[Message],
    content: str,
    author: str,
    metadata: dict[str, Any] | None,
    when: datetime,
) -> None:
    message = kind(content, author=author, metadata=metadata, created_at=when)
    again = loads(dumps(message))
    assert type(again) is kind
    assert again.as_event() == message.as_event()
    assert again.metadata == message.metadata


@pytest.mark.usefixtures("here")
async def test_a_stored_message_that_was_sent_is_updated(sink: FakeSink) -> None:
    message = await Message("hi").send()
    again = loads(dumps(message))
    again.content = "bye"
    await again.update()
    assert sink.names == ["message", "message_update"]
    assert sink.data("message_update")["id"] == message.id


@pytest.mark.usefixtures("here")
async def test_a_stored_message_that_was_not_sent_is_sent(sink: FakeSink) -> None:
    await loads(dumps(Message("hi"))).send()
    assert sink.names == ["message"]


@pytest.mark.usefixtures("here")
async def test_a_message_stored_while_it_streams_comes_back_whole(sink: FakeSink) -> None:
    message = Message()
    await message.stream_token("a")
    await message.stream_token("b")
    again = loads(dumps(message))
    assert again.content == "ab"
    assert not again.as_event()["streaming"]
    await again.update()
    assert sink.data("message_update")["content"] == "ab"


# Sending


@pytest.mark.usefixtures("here")
async def test_send_appends_the_message(sink: FakeSink, turn: Turn) -> None:
    message = Message("hi", metadata={"a": 1}, id=str(ID), created_at=WHEN)
    assert await message.send() is message
    assert sink.done == [
        (
            "message",
            {
                "id": str(ID),
                "author": "Assistant",
                "content": "hi",
                "created_at": "2026-01-02T03:04:05Z",
                "streaming": False,
                "metadata": {"a": 1},
            },
        )
    ]
    assert sink.turns == [turn]


@pytest.mark.usefixtures("here")
async def test_sending_again_updates(sink: FakeSink) -> None:
    message = await Message("hi").send()
    message.content = "hello"
    await message.send()
    assert sink.names == ["message", "message_update"]
    assert sink.data("message_update")["content"] == "hello"
    assert sink.data("message_update")["id"] == sink.data("message")["id"]


@pytest.mark.usefixtures("here")
async def test_an_update_before_send_sends(sink: FakeSink) -> None:
    message = Message("hi")
    assert await message.update() is message
    await message.update()
    assert sink.names == ["message", "message_update"]


@pytest.mark.usefixtures("here")
async def test_an_update_has_the_whole_message(sink: FakeSink) -> None:
    message = await Message("hi", metadata={"a": 1}).send()
    message.author = "Ada"
    await message.update()
    assert sink.data("message_update") == {**sink.data("message"), "author": "Ada"}


@pytest.mark.usefixtures("here")
async def test_removing_what_was_never_sent_says_nothing(sink: FakeSink) -> None:
    await Message("hi").remove()
    assert sink.done == []


@pytest.mark.usefixtures("here")
async def test_a_message_is_removed_once_and_may_be_sent_anew(sink: FakeSink) -> None:
    message = await Message("hi").send()
    await message.remove()
    await message.remove()
    await message.send()
    assert sink.names == ["message", "message_remove", "message"]


@pytest.mark.parametrize("method", ["send", "remove"])
async def test_outside_of_a_session_the_error_names_the_method(method: str) -> None:
    with pytest.raises(ContextNotFound, match=f"Message.{method}"):
        await getattr(Message("hi"), method)()
    with pytest.raises(ContextNotFound, match=r"Message\.stream_token"):
        await Message().stream_token("a")


@pytest.mark.usefixtures("here")
async def test_a_message_that_was_refused_is_not_sent(sink: FakeSink) -> None:
    message = Message("hi")
    sink.refuses = TurnStopped()
    with pytest.raises(TurnStopped):
        await message.send()
    await message.send()
    assert sink.names == ["message"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"author": None}, "The author of Message is a str, not NoneType"),
        ({"author": 5}, "The author of Message is a str, not int"),
        ({"metadata": ["a"]}, "The metadata of Message is a dict or None, not list"),
        ({"actions": ["buy"]}, "'buy' is none: write actions="),
        ({"files": "a.pdf"}, "'a' is none. Save it first"),
    ],
)
@pytest.mark.parametrize("kind", [Message.send, lambda message: message.stream_token("a")])
async def test_a_message_of_wrong_types_is_refused(
    sink: FakeSink, wrong: dict[str, Any], problem: str, kind: Callable[[Message], Awaitable[Any]]
) -> None:
    """Readers of the log left it out: chat_context, threads, the admin and tests."""
    with pytest.raises(TypeError, match=problem):
        await kind(Message("hi", **wrong))
    assert sink.done == []


@pytest.mark.usefixtures("here")
async def test_metadata_that_is_not_json_is_refused(sink: FakeSink) -> None:
    with pytest.raises(NotStorable, match="message"):
        await Message("hi", metadata={"a": object()}).send()
    assert sink.done == []


@pytest.mark.usefixtures("here")
async def test_a_message_is_in_the_log_once_although_the_store_faltered(sink: FakeSink) -> None:
    """``StoreUnavailable`` loses nothing: the entry is written as soon as the store answers."""
    message = Message("hi")
    sink.has_no_room = StoreUnavailable(10)
    with pytest.raises(StoreUnavailable):
        await message.send()
    await message.send()
    assert sink.names == ["message", "message_update"]


@pytest.mark.usefixtures("here")
async def test_a_removal_that_was_refused_can_be_tried_again(sink: FakeSink) -> None:
    message = await Message("hi").send()
    sink.refuses = StorageError("an older commit")
    with pytest.raises(StorageError):
        await message.remove()
    await message.remove()
    assert sink.names == ["message", "message_remove"]


# Streaming


@pytest.mark.usefixtures("here")
async def test_a_stream_closes_with_update_as_well(sink: FakeSink) -> None:
    message = Message()
    await message.stream_token("a")
    await message.update()
    await message.update()
    assert sink.names == [
        *("message", "open", "write"),
        *("message_update", "close", "message_update"),
    ]


@pytest.mark.usefixtures("here")
async def test_tokens_go_on_from_the_content_that_was_there(sink: FakeSink) -> None:
    message = Message("Well: ")
    await message.stream_token("yes")
    assert sink.data("message")["content"] == "Well: "
    assert message.content == "Well: yes"


@pytest.mark.usefixtures("here")
async def test_a_stream_may_begin_with_a_sequence(sink: FakeSink) -> None:
    message = Message("old", id=str(ID))
    await message.stream_token("new", True)  # noqa: FBT003, RUF100  # Chainlit's signature
    await message.stream_token("er")
    await message.send()
    assert sink.names[:4] == ["message", "open", "replace", "write"]
    assert sink.data("message_update")["content"] == "newer"


@pytest.mark.usefixtures("here")
async def test_a_message_removed_while_it_streams_closes_its_stream(sink: FakeSink) -> None:
    message = Message()
    await message.stream_token("a")
    await message.remove()
    assert sink.names == ["message", "open", "write", "message_remove", "close"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("end", [Message.send, Message.update, Message.remove])
async def test_a_stream_whose_end_was_refused_stays_open(
    sink: FakeSink, end: Callable[[Message], Awaitable[Message]]
) -> None:
    message = Message()
    await message.stream_token("a")
    sink.refuses = StorageError("a value")
    with pytest.raises(StorageError):
        await end(message)
    assert message.as_event()["streaming"]
    await message.stream_token("b")
    assert sink.names == ["message", "open", "write", "write"]
    await end(message)
    assert not message.as_event()["streaming"]
    assert sink.names[-1] == "close"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("token", ["", " ", "\n", "🙂"])
async def test_a_token_is_any_text(sink: FakeSink, token: str) -> None:
    message = Message(id=str(ID))
    await message.stream_token(token)
    assert sink.written == [token]
    assert message.content == token


@pytest.mark.usefixtures("here")
async def test_a_stopped_turn_streams_nothing_more(sink: FakeSink) -> None:
    message = Message()
    await message.stream_token("a")
    sink.refuses = TurnStopped()
    with pytest.raises(TurnStopped):
        await message.stream_token("b")
    assert sink.written == ["a"]


@pytest.mark.usefixtures("here")
async def test_a_stream_that_could_not_be_opened_is_opened_by_the_next_token(
    sink: FakeSink,
) -> None:
    """What a commit refused surfaces at the next emit, which may be this one."""
    message = Message()
    sink.refuses = StorageError("an older commit")
    with pytest.raises(StorageError):
        await message.stream_token("a")
    await message.stream_token("a")
    assert sink.names == ["message", "open", "write"]


@pytest.mark.usefixtures("here")
async def test_a_token_that_is_no_text_is_refused(sink: FakeSink) -> None:
    message = Message()
    with pytest.raises(NotStorable, match="surrogate"):
        await message.stream_token("\ud800")
    assert sink.done == []
    assert message.content == ""
    await message.stream_token("a")  # the next one opens the stream
    assert sink.names == ["message", "open", "write"]


@pytest.mark.usefixtures("here")
async def test_a_token_that_is_none_is_refused_with_what_to_write(sink: FakeSink) -> None:
    """As the last piece of a model's answer is."""
    with pytest.raises(NotStorable, match=r'it has to be a str.*stream_token\(token or ""\)'):
        await Message().stream_token(None)  # type: ignore[arg-type]
    assert sink.done == []


# The emitter


async def test_emit_raises_what_its_session_raises(sink: FakeSink) -> None:
    emitter = Emitter(sink, None)
    sink.refuses = TurnStopped()
    with pytest.raises(TurnStopped):
        await emitter.emit("a")
    sink.has_no_room = StoreUnavailable(10)
    with pytest.raises(StoreUnavailable):
        await emitter.emit("b")
    assert sink.names == ["b"]


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "\x00", 5, None])
async def test_what_cannot_be_a_name_is_refused(sink: FakeSink, name: Any) -> None:
    with pytest.raises(ValueError, match="cannot be an event's name"):
        await Emitter(sink, None).emit(name)
    assert sink.done == []


def endless() -> list[Any]:
    inside: list[Any] = []
    inside.append(inside)
    return inside


@pytest.mark.parametrize(
    "data",
    [
        *(object(), {"a": object()}, {"a": lambda: None}, "\ud800", endless()),
        *(float("nan"), {"a": [float("inf")]}),
    ],
)
async def test_data_that_is_not_json_is_refused(sink: FakeSink, data: Any) -> None:
    with pytest.raises(NotStorable, match="event 'score'"):
        await Emitter(sink, None).emit("score", data)
    assert sink.done == []


async def test_data_beyond_the_limit_is_refused(sink: FakeSink) -> None:
    limit = settings.MAX_EVENT_BYTES
    await Emitter(sink, None).emit("score", "x" * (limit - 2))
    with pytest.raises(TooLarge, match=r"event 'score'.*MAX_EVENT_BYTES"):
        await Emitter(sink, None).emit("score", "x" * (limit - 1))
    assert len(sink.done) == 1


async def test_data_is_written_down_when_it_is_emitted(sink: FakeSink) -> None:
    data = {"points": 1}
    await Emitter(sink, None).emit("score", data)
    data["points"] = 2
    assert sink.data("score") == {"points": 1}


async def test_in_another_event_loop_errors_come_back(sink: FakeSink) -> None:
    emitter = Emitter(sink, None)
    sink.refuses = TurnStopped()

    async def elsewhere() -> None:
        with pytest.raises(TurnStopped):
            await emitter.emit("score")

    await asyncio.to_thread(asyncio.run, elsewhere())

"""From outside, with an owner elsewhere that fails to answer, or to take a change, for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from chatsessions import (
    Action,
    Chat,
    Message,
    NotStorable,
    OwnerUnreachable,
    StoreUnavailable,
    TooLarge,
    context,
    session_context,
    user_session,
)
from chatsessions.models import SessionEvent
from chatsessions.workers.blocks import RemoteBlock
from chatsessions.workers.worker import Worker, get_worker

from .support.database import failing
from .support.layer import DeafLayer, impatient
from .support.sessions import Client, calling_from, until
from .test_outside_remote import owned
from .test_remote import two_workers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def chat() -> Chat:
    chat = Chat("far")

    @chat.on_message
    async def handle() -> None:
        await Message("hello").send()

    return chat


@pytest.fixture
def layer() -> DeafLayer:
    return DeafLayer()


@pytest.fixture
async def first(layer: DeafLayer) -> AsyncIterator[Worker]:
    """The owner of the sessions; calls from outside come from another worker."""
    async with two_workers(layer) as (first, second):
        with calling_from(second):
            yield first


@pytest.fixture
async def second(first: Worker) -> Worker:
    """The worker that calls from outside come from."""
    return get_worker()


@pytest.fixture
async def client(first: Worker, chat: Chat) -> Client:
    return await owned(first, chat)


async def stored(client: Client, name: str = "message") -> list[Any]:
    """The data of all stored events of a session by their name."""
    found = SessionEvent.objects.filter(session=client.live.id, name=name, n=None)
    return [entry.data async for entry in found.order_by("seq")]


def is_running(method: Callable[..., object]) -> bool:
    """Whether a task of this event loop runs ``method``."""
    return any(method.__qualname__ in repr(task.get_coro()) for task in asyncio.all_tasks())


async def texts(client: Client) -> list[str]:
    return [data["content"] for data in await stored(client)]


# Sent again


@pytest.mark.parametrize("lost", ["command", "answer"])
@pytest.mark.parametrize("given_up_by", ["itself", "a timeout"])
async def test_what_the_owner_did_not_confirm_is_sent_again_and_done_once(
    first: Worker, second: Worker, layer: DeafLayer, client: Client, lost: str, given_up_by: str
) -> None:
    """The repeated flush() had nothing to send any more: all was told as stored, and was not."""
    async with session_context(client.live.id):
        user_session["kept"] = 1
        with impatient():
            await Message("first").send()
            layer.deaf = {(first if lost == "command" else second).rpc.channel}
            if given_up_by == "itself":
                with pytest.raises(OwnerUnreachable, match="gives no sign"):
                    await context.emitter.flush()
            else:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await context.emitter.flush()
        await Message("second").send()
        layer.deaf = set()
        await context.emitter.flush()
        assert await texts(client) == ["hello", "first", "second"]
        user_session["kept"] += 1
        await Message("third").send()
    assert await texts(client) == ["hello", "first", "second", "third"]
    assert dict(client.live.user_session) == {"kept": 2}


async def test_what_was_not_confirmed_is_sent_again_at_the_end_of_the_block(
    first: Worker, layer: DeafLayer, client: Client
) -> None:
    async with session_context(client.live.id):
        user_session["kept"] = 1
        with impatient():
            await Message("first").send()
            layer.deaf = {first.rpc.channel}
            with pytest.raises(OwnerUnreachable, match="gives no sign"):
                await context.emitter.flush()
        layer.deaf = set()
    assert await texts(client) == ["hello", "first"]
    assert dict(client.live.user_session) == {"kept": 1}


async def test_a_block_that_never_reaches_the_owner_ends_with_an_error(
    first: Worker, layer: DeafLayer, client: Client
) -> None:
    async def block() -> None:
        async with session_context(client.live.id):
            await Message("first").send()
            with pytest.raises(OwnerUnreachable, match="gives no sign"):
                await context.emitter.flush()

    with impatient():
        layer.deaf = {first.rpc.channel}
        with pytest.raises(OwnerUnreachable, match="gives no sign"):
            await block()
        layer.deaf = set()
    assert await texts(client) == ["hello"]


async def test_a_token_that_raises_why_those_before_did_not_arrive_is_not_added(
    first: Worker, layer: DeafLayer, client: Client
) -> None:
    """Code that repeated it had it twice."""
    async with session_context(client.live.id):
        answer = Message()
        layer.deaf = {first.rpc.channel}
        with impatient():
            await answer.stream_token("one ")
            await until(lambda: not is_running(RemoteBlock._send_on))  # it is given up
        layer.deaf = set()
        with pytest.raises(OwnerUnreachable, match="gives no sign"):
            await answer.stream_token("two")
        await answer.stream_token("two")
        whole = {answer.id: "one two"}
        await until(lambda: client.live.sink.texts() == whole)
    [update] = await stored(client, "message_update")
    assert (update["content"], update["streaming"]) == ("one two", False)


async def test_what_the_owner_could_not_store_in_time_is_waited_for_and_done_once(
    first: Worker, client: Client, settings: Any
) -> None:
    """It has it in memory. A repeated flush() returned at once."""
    times = settings.CHATSESSIONS
    async with session_context(client.live.id):
        user_session["kept"] = 1
        await first.journal.settled()
        await Message("first").send()
        settings.CHATSESSIONS = {**times, "STORE_TIMEOUT": 0.3}
        with failing():
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await context.emitter.flush()
            settings.CHATSESSIONS = times
        await until(lambda: first.journal.failure is None)
        await context.emitter.flush()
        assert await texts(client) == ["hello", "first"]
    assert await texts(client) == ["hello", "first"]
    assert dict(client.live.user_session) == {"kept": 1}


async def test_what_comes_before_a_button_that_could_not_be_removed_in_time_is_done_once(
    first: Worker, client: Client, settings: Any
) -> None:
    times = settings.CHATSESSIONS
    async with session_context(client.live.id):
        button = Action("press")
        await Message("with a button", actions=[button]).send()
        await context.emitter.flush()
        await first.journal.settled()
        await Message("first").send()
        settings.CHATSESSIONS = {**times, "STORE_TIMEOUT": 0.3}
        with failing():
            with suppress(StoreUnavailable):
                await button.remove()
            with pytest.raises(StoreUnavailable):
                await context.emitter.flush()
            settings.CHATSESSIONS = times
        await until(lambda: first.journal.failure is None)
        await button.remove()
    assert await texts(client) == ["hello", "with a button", "first"]
    [update] = await stored(client, "message_update")
    assert "actions" not in update or update["actions"] == []


@pytest.mark.parametrize("streams", [False, True])
async def test_a_button_that_a_block_has_removed_does_not_come_back_with_its_update(
    client: Client, streams: bool
) -> None:
    async with session_context(client.live.id):
        button, kept = Action("press"), Action("keep")
        message = Message("Which?", actions=[button, kept])
        await (message.stream_token(" ") if streams else message.send())
        await button.remove()
        await message.update()
    updates = await stored(client, "message_update")
    names = [[action["name"] for action in data["actions"]] for data in updates]
    assert names == [["keep"], ["keep"]]
    assert [one["name"] for one in client.live.offers.of(message.id)] == ["keep"]


# The end of a block


@pytest.mark.parametrize("raises", [False, True])
async def test_a_message_left_open_that_cannot_be_sent_whole_takes_nothing_else_with_it(
    client: Client, raises: bool
) -> None:
    """All that the block had not sent was lost, and a task of its ran for ever."""

    async def block() -> None:
        async with session_context(client.live.id):
            for text in ("one", "two"):
                answer = Message()
                await answer.stream_token(text)
                if text == "one":
                    answer.metadata = {"score": object()}
            user_session["kept"] = 1
            await context.emitter.emit("note")
            if raises:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError if raises else NotStorable):
        await block()
    closed = await stored(client, "message_update")
    assert [data["content"] for data in closed] == ["one", "two"]
    assert [data["streaming"] for data in closed] == [False, False]
    assert len(await stored(client, "note")) == 1
    assert len(await stored(client, "error")) == raises
    assert dict(client.live.user_session) == {"kept": 1}
    assert not client.live.writers.is_writing
    await until(lambda: not is_running(RemoteBlock._keep_streams), seconds=5)


async def test_a_message_left_open_that_cannot_be_told_at_all_takes_nothing_else_with_it(
    client: Client,
) -> None:
    async def block() -> None:
        async with session_context(client.live.id):
            answer = Message()
            await answer.stream_token("one")
            await context.emitter.flush()
            answer.actions = ["yes"]  # type: ignore[list-item]
            user_session["kept"] = 1
            await context.emitter.emit("note")

    with pytest.raises(TypeError, match="list of Action"):
        await block()
    assert len(await stored(client, "note")) == 1
    assert dict(client.live.user_session) == {"kept": 1}
    await until(lambda: not is_running(RemoteBlock._keep_streams), seconds=5)


async def test_a_button_of_a_message_that_is_left_open_can_be_pressed(
    client: Client, chat: Chat
) -> None:
    """It was shown at the end of the block, and refused when it was pressed."""
    pressed: list[str] = []

    @chat.on_action("press")
    async def press(action: Action) -> None:
        pressed.append(action.id)

    button = Action("press")
    async with session_context(client.live.id):
        answer = Message()
        await answer.stream_token("one")
        answer.actions = [button]
    [update] = await stored(client, "message_update")
    assert [action["id"] for action in update["actions"]] == [button.id]
    assert await client.run("action", {"id": button.id, "name": "press"}) == "done"
    assert pressed == [button.id]


# Changed before it is sent


@pytest.mark.parametrize("what", ["metadata", "action", "settings"])
async def test_what_is_changed_after_it_was_sent_is_sent_as_it_was(
    client: Client, what: str
) -> None:
    """An object inside of it, which is no JSON, kept all that the block had done from the owner."""
    async with session_context(client.live.id):
        data: dict[str, Any] = {"kept": True}
        if what == "metadata":
            await Message(metadata=data).stream_token("one")
        elif what == "action":
            await Message("one", actions=[Action("press", data)]).send()
        else:
            await context.emitter.declare_settings([{"id": "a", "is": data}], {"a": data})
        data["object"] = object()
        await context.emitter.emit("note")
        await context.emitter.flush()
        del data["object"]
    assert len(await stored(client, "note")) == 1


# Refused by the owner


@pytest.mark.parametrize("mended", [False, True])
async def test_a_value_that_the_owner_has_no_room_for_takes_nothing_else_with_it(
    first: Worker, chat: Chat, settings: Any, mended: bool
) -> None:
    """The session's own values have grown since the block began."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "USER_SESSION_MAX_BYTES": 100}
    client = await owned(first, chat)

    async def block() -> None:
        async with session_context(client.live.id):
            client.live.user_session["own"] = "x" * 60
            await Message("first").send()
            user_session["other"] = "x" * 60
            with pytest.raises(TooLarge, match="USER_SESSION_MAX_BYTES"):
                await context.emitter.flush()
            if mended:
                user_session["other"] = "x"
            await Message("second").send()
            await Message().stream_token("third")

    if mended:
        await block()
    else:
        with pytest.raises(TooLarge, match="USER_SESSION_MAX_BYTES"):
            await block()
    assert (await texts(client))[:3] == ["hello", "first", "second"]
    [update] = await stored(client, "message_update")
    assert (update["content"], update["streaming"]) == ("third", False)
    assert len(client.live.user_session["own"]) == 60
    assert client.live.user_session.get("other") == ("x" if mended else None)

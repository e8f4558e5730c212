"""Files in handlers: what users attach, what the application saves, and what goes with messages."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, cast
from uuid import uuid4

import msgspec
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import IntegrityError, connection

from chatsessions import (
    AskFileMessage,
    Chat,
    ChatFile,
    FileRefused,
    Message,
    OwnershipLost,
    SessionOver,
    TurnStopped,
    context,
    session_context,
    user_session,
)
from chatsessions.exceptions import FrameError
from chatsessions.models import ChatSession, SessionFile
from chatsessions.protocol import frames as wire
from chatsessions.workers.worker import Worker

from .support.database import STAYING, faulty, overtaken
from .support.files import PNG, contents, stored_file
from .support.sessions import Client, Way, make_session, until, ways
from .support.storage import session_row

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_storage(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


async def attach(client: Client, content: bytes = b"hello", name: str = "notes.txt") -> ChatFile:
    """Upload a file, as the view does it."""
    row = ChatSession(pk=client.live.id)
    return await sync_to_async(stored_file)(row, content, name)


@ways
async def test_a_handler_has_the_files_of_a_message(worker: Worker, chat: Chat, way: Way) -> None:
    seen: list[Any] = []

    def look(message: Message) -> None:
        assert message.elements is message.files
        for file in message.files:
            with file.open() as content:
                seen.append((file.id, file.name, file.mime, file.type, file.size, content.read()))
            assert Path(file.path).read_bytes() == seen[-1][-1]

    if way == "sync":
        chat.on_message(look)
    else:

        @chat.on_message
        async def handle(message: Message) -> None:
            look(message)
            for file in message.files:
                assert await file.read() == seen[-1 if file is message.files[-1] else -2][-1]

    client = await Client.open(worker, chat)
    first, second = await attach(client, b"one", "1.txt"), await attach(client, b"two", "2.txt")
    data = {"content": "look", "files": [first.id, second.id]}
    assert await client.run("message", data) == "done"
    assert [entry[0] for entry in seen] == [first.id, second.id]
    assert seen[0] == (first.id, "1.txt", "text/plain", "text/plain", 3, b"one")
    assert await client.run("message", {"content": "none"}) == "done"
    assert len(seen) == 2


async def test_files_are_there_for_a_message_that_waited_through_a_crash(
    worker: Worker, chat: Chat
) -> None:
    names = []

    @chat.on_message
    async def handle(message: Message) -> None:
        names.extend(file.name for file in message.files)

    row = await sync_to_async(session_row)(chat=chat.name, accepted=1, head=1)
    file = await sync_to_async(stored_file)(row)
    data: Any = {"content": "hi", "files": [file.id]}
    await sync_to_async(row.events.create)(
        seq=1, n=1, name="message", data=data, created_at=row.created_at
    )
    async with session_context(row.pk):
        await until(lambda: names)
    assert names == ["notes.txt"]


async def test_a_file_that_was_deleted_before_its_turn_fails_the_turn(
    worker: Worker, chat: Chat
) -> None:
    @chat.on_message
    async def handle(message: Message) -> None:
        raise AssertionError("not reached")

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "x", "files": [str(uuid4())]}) == "failed"
    assert client.events[-1][1]["code"] == "handler_error"


# What a client may name


def event(n: int, data: Any, name: str = "message") -> tuple[wire.ClientEvent, Any]:
    return wire.ClientEvent(n, name, msgspec.Raw(msgspec.json.encode(data))), data


async def test_a_message_with_a_foreign_file_is_not_accepted(worker: Worker, chat: Chat) -> None:
    client, other = await Client.open(worker, chat), await Client.open(worker, chat)
    foreign = await attach(other)
    mine = await attach(client)
    for ids in ([foreign.id], [mine.id, foreign.id], [str(uuid4())], ["../../etc/passwd"]):
        with pytest.raises(FrameError) as caught:
            await client.live.inbound.look_up(*event(1, {"content": "x", "files": ids}))
        assert (caught.value.code, caught.value.n) == ("forbidden", 1)
    await client.live.inbound.look_up(*event(1, {"content": "x", "files": [mine.id]}))
    # Of no message, or answered without a look at the files:
    await client.live.inbound.look_up(*event(1, {"files": [foreign.id]}, "mine"))
    await client.live.inbound.look_up(*event(7, {"content": "x", "files": [foreign.id]}))
    await client.live.inbound.look_up(*event(1, {"content": "x", "files": None}))


def rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


async def test_files_that_cannot_be_looked_up_are_to_be_sent_again(
    worker: Worker, chat: Chat
) -> None:
    client = await Client.open(worker, chat)
    await sync_to_async(rename)(SessionFile._meta.db_table, "elsewhere")
    try:
        with pytest.raises(FrameError) as caught:
            await client.live.inbound.look_up(*event(1, {"content": "x", "files": [str(uuid4())]}))
    finally:
        await sync_to_async(rename)("elsewhere", SessionFile._meta.db_table)
    assert (caught.value.code, caught.value.retry_after) == ("storage_unavailable", 1.0)


@pytest.mark.parametrize(
    "accept", [{"text/csv": [".csv", ".tsv"], "image/*": []}, [".CSV", ".tsv", "image/*"]]
)
async def test_an_answer_has_files_of_this_session_and_of_the_kind_asked_for(
    worker: Worker, chat: Chat, accept: Any
) -> None:
    given: list[Any] = []

    @chat.on_message
    async def ask() -> None:
        given.append(await AskFileMessage("?", accept, max_files=3, max_size_mb=0.001).send())

    client, other = await Client.open(worker, chat), await Client.open(worker, chat)
    foreign = await attach(other, name="foreign.csv")
    large = await attach(client, b"x" * 2000, "large.csv")
    text = await attach(client, name="notes.txt")
    good = await attach(client, name="good.tsv")
    n = client.send("message", {"content": ""})
    await until(lambda: any(name == "ask" for name, _ in client.events))
    call = client.events[-1][1]["call"]

    def answer(*files: ChatFile) -> tuple[wire.Answer, Any]:
        data = {"files": [file.id for file in files]}
        return wire.Answer(2, call, msgspec.Raw(msgspec.json.encode(data))), data

    for file, code in ((foreign, "forbidden"), (large, "bad_frame"), (text, "bad_frame")):
        with pytest.raises(FrameError) as caught:
            await client.live.inbound.check_answer_files(*answer(good, file))
        assert (caught.value.code, caught.value.n) == (code, 2)
    await client.live.inbound.check_answer_files(*answer(good, good))
    client.live.inbound.answer(*answer(good, good))
    assert await client.outcome(n) == "done"
    assert given == [[good]]


@pytest.mark.parametrize("accept", ["text/csv", {"text/csv": ".csv"}, [".csv", None], None])
def test_a_list_of_types_is_asked_for(accept: Any) -> None:
    """Nobody could answer a question for the types t, e, x and t."""
    with pytest.raises(TypeError, match="write a list of types and endings"):
        AskFileMessage("?", accept)


# What the application saves


@ways
async def test_a_saved_file_goes_with_a_message(worker: Worker, chat: Chat, way: Way) -> None:
    if way == "sync":

        @chat.on_message
        def save(message: Message) -> None:
            file = async_to_sync(context.session.save_file)("plot.png", PNG)
            async_to_sync(Message("Here.", files=[file]).send)()
    else:

        @chat.on_message
        async def save_async(message: Message) -> None:
            file = await context.session.save_file("plot.png", PNG)
            await Message("Here.", files=[file]).send()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "plot"}) == "done"
    [(_, data)] = client.events
    [file] = await client.live.session.files()
    assert data["files"] == [
        {"id": file.id, "name": "plot.png", "mime": "image/png", "size": len(PNG)}
    ]
    assert await file.read() == PNG


async def test_content_may_be_text_bytes_a_file_or_a_path(
    worker: Worker, chat: Chat, tmp_path: Path
) -> None:
    client = await Client.open(worker, chat)
    save = client.live.session.save_file
    path = tmp_path / "there.txt"
    path.write_text("from a path")
    saved = [
        await save("a.txt", "Grüße"),
        await save("b", b"\x00\x01"),
        await save("c", io.BytesIO(PNG)),
        await save("../../d.csv", path=path),
        await save("e.txt", "{}", mime="application/json"),
        await save("empty.txt", b""),
    ]
    assert [(file.name, file.mime, file.size) for file in saved] == [
        ("a.txt", "text/plain", 7),
        ("b", "application/octet-stream", 2),
        ("c", "application/octet-stream", len(PNG)),
        ("d.csv", "text/csv", 11),
        ("e.txt", "application/json", 2),
        ("empty.txt", "text/plain", 0),
    ]
    assert [await file.read() for file in saved[:2]] == ["Grüße".encode(), b"\x00\x01"]
    assert path.exists()
    assert await client.live.session.files() == saved


@contextmanager
def larger_than_it_says(tmp_path: Path) -> Iterator[list[BinaryIO]]:
    """Files with 40,000 bytes of which the disk has less: packed, and not written out yet."""
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(b"1,2,3\n" * 5000 + b"x" * 10_000))
    with gzip.open(packed, "rb") as unpacked, NamedTemporaryFile(buffering=100_000) as written:
        written.write(b"x" * 40_000)
        yield [cast("BinaryIO", unpacked), cast("BinaryIO", written)]


async def test_a_file_has_the_size_of_what_was_saved(
    worker: Worker, chat: Chat, tmp_path: Path
) -> None:
    save = (await Client.open(worker, chat)).live.session.save_file
    with larger_than_it_says(tmp_path) as files:
        saved = [await save("rows.csv", content) for content in files]
    assert [file.size for file in saved] == [40_000, 40_000]
    assert [len(await file.read()) for file in saved] == [40_000, 40_000]


@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "MAX_FILES_BYTES_PER_SESSION"])
async def test_a_file_that_is_larger_than_it_says_keeps_to_the_limits(
    worker: Worker, chat: Chat, settings: Any, tmp_path: Path, limit: str
) -> None:
    settings.CHATSESSIONS = {limit: 39_999}
    save = (await Client.open(worker, chat)).live.session.save_file
    with larger_than_it_says(tmp_path) as files:
        for content in files:
            with pytest.raises(FileRefused, match="may have"):
                await save("rows.csv", content)
    assert contents() == set()


async def test_what_cannot_be_saved_says_why(worker: Worker, chat: Chat, settings: Any) -> None:
    settings.CHATSESSIONS = {"MAX_FILE_BYTES": 10, "MAX_FILES_PER_SESSION": 1}
    save = (await Client.open(worker, chat)).live.session.save_file
    with pytest.raises(TypeError, match="either content or path"):
        await save("a")
    with pytest.raises(TypeError, match="either content or path"):
        await save("a", b"x", path="/etc/hosts")
    with pytest.raises(ValueError, match="'png' is no type"):
        await save("a", b"x", mime="png")
    with pytest.raises(FileNotFoundError):
        await save("a", path="/no/such/file")
    with pytest.raises(FileRefused, match="at most 10"):
        await save("a", b"x" * 11)
    await save("a", b"x")
    with pytest.raises(FileRefused, match="at most 1 file\\."):
        await save("a", b"x")
    assert len(contents()) == 1


async def test_a_handler_that_was_stopped_saves_nothing(worker: Worker, chat: Chat) -> None:
    begun, refused = [], []

    @chat.on_message
    async def handle(message: Message) -> None:
        begun.append(True)
        try:
            await asyncio.Event().wait()
        finally:
            session = context.session
            turn = context.turn
            assert turn is not None
            turn.stopped = True
            with pytest.raises(TurnStopped):
                await session.save_file("late.txt", b"x")
            refused.append(True)

    client = await Client.open(worker, chat)
    n = client.send("message", {"content": "x"})
    await until(lambda: begun)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    await until(lambda: refused)
    assert contents() == set()


async def test_the_first_hook_of_a_session_may_save_a_file(worker: Worker, chat: Chat) -> None:
    """Its row has to be there before."""
    saved = []

    @chat.on_session_load
    async def load() -> None:
        saved.append(await context.session.save_file("a.txt", "x"))

    client = await Client.open(worker, chat)
    await until(lambda: saved)
    assert await client.live.session.files() == saved


async def test_the_last_hook_may_save_and_nothing_after_it(worker: Worker, chat: Chat) -> None:
    saved = []

    @chat.on_chat_end
    async def end() -> None:
        saved.append(await context.session.save_file("summary.txt", "x"))

    client = await Client.open(worker, chat)
    client.live.end("user")
    await client.live.until_closed()
    assert len(saved) == 1
    with pytest.raises(SessionOver):
        await client.live.session.save_file("late.txt", "x")


async def test_from_outside_a_file_is_saved_and_sent(worker: Worker, chat: Chat) -> None:
    client = await Client.open(worker, chat)
    session_id = client.live.id

    def in_a_view() -> None:
        with session_context(session_id) as here:
            file = async_to_sync(here.session.save_file)("a.txt", "x")
            async_to_sync(Message("For you", files=[file]).send)()

    await sync_to_async(in_a_view, thread_sensitive=False)()
    await until(lambda: client.events)
    assert client.events[0][1]["files"][0]["name"] == "a.txt"


async def test_a_message_takes_no_file_of_another_session(worker: Worker, chat: Chat) -> None:
    foreign = await attach(await Client.open(worker, chat))
    client = await Client.open(worker, chat)
    with pytest.raises(ValueError, match="is a file of session"):
        async with session_context(client.live.id):
            await Message("x", files=[foreign]).send()


async def test_a_message_with_files_can_be_kept_and_updated(worker: Worker, chat: Chat) -> None:
    @chat.on_event("send")
    async def send() -> None:
        file = await context.session.save_file("a.txt", "x")
        user_session["kept"] = await Message("first", files=[file]).send()

    @chat.on_event("update")
    async def update() -> None:
        message = user_session["kept"]
        assert isinstance(message.files[0], ChatFile)
        message.content = "second"
        await message.update()

    client = await Client.open(worker, chat)
    assert [await client.run(name) for name in ("send", "update")] == ["done", "done"]
    sent, updated = client.events
    assert updated[0] == "message_update"
    assert updated[1]["files"] == sent[1]["files"]


async def test_files_are_sent_by_chainlits_name_too(worker: Worker, chat: Chat) -> None:
    @chat.on_message
    async def back(message: Message) -> None:
        await Message("Yours.", elements=message.elements).send()

    client = await Client.open(worker, chat)
    file = await attach(client)
    assert await client.run("message", {"content": "", "files": [file.id]}) == "done"
    assert client.events[-1][1]["files"] == [file.as_event()]


def test_a_message_without_files_says_nothing_of_them() -> None:
    assert "files" not in Message("x").as_event()


async def test_a_session_that_nobody_holds_has_no_files_to_offer() -> None:
    with pytest.raises(OwnershipLost):
        await make_session().files()


async def test_a_database_that_fails_keeps_no_content(worker: Worker, chat: Chat) -> None:
    client = await Client.open(worker, chat)
    with faulty("INSERT", SessionFile, STAYING), pytest.raises(IntegrityError, match="poisoned"):
        await client.live.session.save_file("a.txt", "x")
    assert contents() == set()


async def test_a_file_is_saved_though_others_commit_meanwhile(worker: Worker, chat: Chat) -> None:
    """The journal does, for other sessions."""

    @chat.on_message
    async def handle() -> None:
        await context.session.save_file("a.txt", "x")

    client, other = await Client.open(worker, chat), await sync_to_async(session_row)()
    with overtaken("INSERT", SessionFile, by=other):
        assert await client.run("message", {"content": "x"}) == "done"

"""Where a session's values are read from: the cache, and the row where that is behind or fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient
from django.urls import reverse

from chatsessions import Chat, session_context, user_session
from chatsessions.models import ChatSession
from chatsessions.storage.store import Store, cache_key
from chatsessions.workers.blocks import RemoteBlock

from .support.database import every_statement
from .support.sessions import Client, running_worker, until
from .support.storage import SpyCache
from .test_remote import two_workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache")]

Reader = Callable[[Chat, ChatSession, str], Awaitable[Any]]
MUCH = "x" * 1_000_000


# Who reads them, each in a process of its own but for the memory


async def a_client_that_comes_back(chat: Chat, row: ChatSession, token: str) -> Any:
    async with running_worker() as worker:
        client = await Client.open(worker, chat, row.pk, token, user=await owner(row))
        assert client.resumed
        return client.live.user_session["from"]


async def code_from_outside(_chat: Chat, row: ChatSession, _token: str) -> Any:
    async with running_worker(), session_context(row.pk):
        return user_session["from"]


async def code_beside_the_owner(chat: Chat, row: ChatSession, token: str) -> Any:
    async with two_workers() as (first, second):
        await Client.open(first, chat, row.pk, token, user=await owner(row))
        SpyCache.asked.clear()
        block = await RemoteBlock.open(second, row.pk)
        return block.user_session["from"]


async def a_session_that_goes_on_with_the_thread(chat: Chat, row: ChatSession, _token: str) -> Any:
    async with running_worker() as worker:
        thread = str(row.thread_id)
        client = await Client.open(worker, chat, user=await owner(row), thread=thread)
        assert client.live.id != row.pk
        return client.live.user_session["from"]


async def the_admin(_chat: Chat, row: ChatSession, _token: str) -> Any:
    client = AsyncClient()
    await client.aforce_login(await User.objects.acreate_superuser("admin"))
    page = await client.get(reverse("admin:chatsessions_chatsession_change", args=[row.pk]))
    text = page.content.decode()
    return next((word for word in ("the cache", "the row") if word in text), None)


readers = pytest.mark.parametrize(
    "read",
    [
        a_client_that_comes_back,
        code_from_outside,
        code_beside_the_owner,
        a_session_that_goes_on_with_the_thread,
        the_admin,
    ],
)


async def owner(row: ChatSession) -> User:
    return await User.objects.aget(pk=row.user_id)


async def stored(chat: Chat, **values: Any) -> tuple[ChatSession, str]:
    """A session that a worker has stored and let go, and its client's token."""
    user = await User.objects.acreate(username="ada")
    async with running_worker() as worker:
        client = await Client.open(worker, chat, user=user)
        client.live.user_session.update({"from": "the row"} | values)
        await client.live.sink.flush()
        client.leave()
        await until(lambda: not worker.live)
    SpyCache.asked.clear()
    return await ChatSession.objects.aget(pk=client.live.id), client.token


def put(row: ChatSession, revision: int) -> None:
    """What the cache says is not what the row says, so that one sees who was asked."""
    Store().cache.set(cache_key(row.pk, row.generation), b'%d:{"from":"the cache"}' % revision)


def states_read(statements: list[str]) -> list[str]:
    return [sql for sql in statements if sql.startswith("SELECT") and '."state"' in sql]


@readers
async def test_the_cache_is_read(chat: Chat, read: Reader) -> None:
    row, token = await stored(chat)
    put(row, row.state_revision)
    with every_statement() as statements:
        assert await read(chat, row, token) == "the cache"
    assert SpyCache.asked == [cache_key(row.pk, row.generation)]
    assert states_read(statements) == []


@readers
@pytest.mark.parametrize("why", ["behind", "ahead", "gone", "foreign", "fails"])
async def test_the_row_is_read_where_the_cache_does_not_have_what_it_has(
    chat: Chat, read: Reader, why: str, cache: type[SpyCache], caplog: pytest.LogCaptureFixture
) -> None:
    row, token = await stored(chat)
    key = cache_key(row.pk, row.generation)
    match why:
        case "behind":
            put(row, row.state_revision - 1)
        case "ahead":  # the owner has written since the row was read
            put(row, row.state_revision + 1)
        case "gone":
            Store().cache.delete(key)
        case "foreign":
            Store().cache.set(key, {"what": "is this"})
    cache.raises = why == "fails"
    assert await read(chat, row, token) == "the row"
    failed = "The cache failed; user_session is read from the database: no cache here"
    assert (failed in caplog.text) == (why == "fails")


async def test_a_megabyte_is_not_read_from_the_database_at_a_resume(chat: Chat) -> None:
    """However often the client comes back without changing anything."""
    row, token = await stored(chat, much=MUCH)
    assert row.state_bytes > 1_000_000
    for _ in range(3):
        async with running_worker() as worker:
            with every_statement() as statements:
                user = await owner(row)
                client = await Client.open(worker, chat, row.pk, token, user=user)
                assert client.live.user_session["much"] == MUCH
                token = client.token
                client.leave()
                await until(lambda: not worker.live)
        assert any(sql.startswith("SELECT") and "accepted" in sql for sql in statements)
        assert states_read(statements) == []


async def test_what_has_no_values_is_asked_for_nowhere(chat: Chat) -> None:
    async with running_worker() as worker:
        client = await Client.open(worker, chat)
        client.leave()
        await until(lambda: not worker.live)
        with every_statement() as statements:
            await Client.open(worker, chat, client.live.id, client.token)
        assert SpyCache.asked == []
        assert states_read(statements) == []


async def test_what_changes_at_one_worker_is_read_at_the_next(chat: Chat) -> None:
    """Each has the revision after the one that it has read, and the cache has the last."""
    row, token = await stored(chat)
    for number in range(3):
        async with running_worker() as worker:
            client = await Client.open(worker, chat, row.pk, token, user=await owner(row))
            assert client.live.user_session.get("number") == (number - 1 if number else None)
            client.live.user_session["number"] = number
            await client.live.sink.flush()
            token = client.token
            client.leave()
            await until(lambda: not worker.live)
        after = await ChatSession.objects.aget(pk=row.pk)
        assert after.state_revision == row.state_revision + number + 1
        kept = Store().cache.get(cache_key(row.pk, after.generation))
        assert kept == b"%d:%b" % (after.state_revision, after.state.encode())

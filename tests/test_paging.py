"""The log from its end: a client that begins with the latest messages, and fetches earlier ones."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.utils import timezone

from chatsessions import AskUserMessage, Chat, ChatSettings, Message, aemit_to
from chatsessions.consumers import ChatConsumer
from chatsessions.exceptions import FrameError
from chatsessions.input_widget import Switch
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.protocol import frames
from chatsessions.storage.log import CHUNK_BYTES
from chatsessions.testing import ChatCommunicator

from .support.files import bearer, token_session
from .support.storage import session_row


def url(session: ChatSession | str) -> str:
    return f"/chats/{session if isinstance(session, str) else session.pk}/entries/"


def fill(session: ChatSession, count: int, *, first: int = 1, size: int = 1) -> None:
    now = timezone.now()
    SessionEvent.objects.bulk_create(
        SessionEvent(
            session=session,
            seq=seq,
            name="message",
            n=seq if seq % 2 else None,
            turn=None if seq % 2 else seq - 1,
            data={"content": "x" * size, "id": f"m{seq}"},
            created_at=now,
        )
        for seq in range(first, first + count)
    )


def body(response: Any) -> Any:
    assert response.status_code == 200, response.content
    return json.loads(response.content)


# HTTP


@pytest.mark.django_db
def test_a_log_is_read_backwards_without_a_hole(client: Client) -> None:
    session, token = token_session()
    fill(session, 1100)
    seqs: list[int] = []
    query: dict[str, Any] = {}
    while True:
        page = body(client.get(url(session), query, headers=bearer(token)))
        assert len(page["entries"]) <= 200
        seqs = [entry["seq"] for entry in page["entries"]] + seqs
        if page["before"] is None:
            break
        query = {"before": page["before"]}
    assert seqs == list(range(1, 1101))
    # An entry is as the websocket sends it.
    assert page["entries"][0] == {
        "type": "event",
        "seq": 1,
        "name": "message",
        "data": {"content": "x", "id": "m1"},
        "n": 1,
    }
    assert page["entries"][1]["turn"] == 1


@pytest.mark.django_db
def test_a_page_has_at_most_so_many_entries_and_bytes(client: Client) -> None:
    session, token = token_session()
    fill(session, 20, size=CHUNK_BYTES // 4)

    def page(**query: Any) -> list[int]:
        found = body(client.get(url(session), query, headers=bearer(token)))
        return [entry["seq"] for entry in found["entries"]]

    assert page(limit=2) == [19, 20]
    assert page(limit=2, before=19) == [17, 18]
    assert page(before=2) == [1]
    assert page(before=1) == []
    assert page(before=10**15) == page() == [18, 19, 20]
    SessionEvent.objects.filter(session=session, seq=20).update(data={"content": "x" * CHUNK_BYTES})
    assert page() == [20]


@pytest.mark.django_db
def test_what_is_no_longer_kept_is_not_asked_for(client: Client) -> None:
    session, token = token_session()
    fill(session, 10, first=31)
    page = body(client.get(url(session), {"limit": 5}, headers=bearer(token)))
    assert page["before"] == 36
    page = body(client.get(url(session), {"before": 36}, headers=bearer(token)))
    assert ([entry["seq"] for entry in page["entries"]], page["before"]) == ([*range(31, 36)], None)
    assert body(client.get(url(session), {"before": 7}, headers=bearer(token))) == {
        "entries": [],
        "before": None,
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query", [{"before": "x"}, {"before": "0"}, {"before": "-1"}, {"limit": "0"}, {"limit": "1e3"}]
)
def test_what_is_no_position_is_refused(client: Client, query: dict[str, str]) -> None:
    session, token = token_session()
    response = client.get(url(session), query, headers=bearer(token))
    assert (response.status_code, response.json()["error"]) == (400, "bad_request")


@pytest.mark.django_db
def test_only_its_client_reads_a_session(client: Client) -> None:
    session, token = token_session()
    fill(session, 3)
    ada = User.objects.create_user("ada")
    hers = session_row(user=ada)
    fill(hers, 3)
    refused: list[HttpResponse] = [
        client.get(url(session)),
        client.get(url(session), headers=bearer("wrong")),
        client.get(url(hers)),
        client.get(url(hers), headers=bearer(token)),
        client.get(url(str(uuid4())), headers=bearer(token)),
        client.get(url("no-id"), headers=bearer(token)),
    ]
    assert {(one.status_code, one.content) for one in refused} == {(404, refused[0].content)}
    client.force_login(ada)
    assert len(body(client.get(url(hers)))["entries"]) == 3
    assert client.get(url(session), headers=bearer(token)).status_code == 404
    assert client.post(url(hers)).status_code == 405


@pytest.mark.django_db
def test_a_log_is_not_read_faster_than_is_allowed(settings: Any) -> None:
    client = Client(REMOTE_ADDR="192.0.2.78")  # what is counted by address outlasts the test
    settings.CHATSESSIONS = {
        **settings.CHATSESSIONS,
        "REPLAY_BYTES_PER_SECOND": 1024,
        "REPLAY_BURST_BYTES": 1024,
    }
    session, token = token_session()
    fill(session, 10, size=500)
    assert client.get(url(session), headers=bearer(token)).status_code == 200
    response = client.get(url(session), headers=bearer(token))
    assert (response.status_code, response.json()["error"]) == (429, "rate_limited")
    assert int(response["Retry-After"]) >= 1


# The websocket


def visit(chat: Chat, **options: Any) -> ChatCommunicator:
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/ws/", **options)


@pytest.fixture
def echo(chat: Chat) -> Chat:
    @chat.on_chat_start
    async def start() -> None:
        await ChatSettings([Switch(id="loud", label="Loud")]).send()

    @chat.on_message
    async def answer(message: Message) -> None:
        await Message(f"re {message.content}").send()

    return chat


async def said(tab: ChatCommunicator, count: int) -> None:
    for number in range(count):
        await tab.wait_for_turn(await tab.send(f"{number}"))


def contents(tab: ChatCommunicator) -> list[str]:
    return [message.content for message in tab.messages]


@pytest.mark.django_db(transaction=True)
async def test_a_client_begins_with_the_latest_messages(echo: Chat) -> None:
    async with visit(echo, latest=3) as tab:
        assert not tab.has_earlier
        await said(tab, 5)
        whole = [event.seq for event in tab.events]
        assert await tab.reload()
        assert contents(tab) == ["re 3", "4", "re 4"]
        assert tab.has_earlier
        # What was declared at the start still holds.
        form, settings, *rest = tab.events
        assert (form.name, settings.name, settings.data) == (
            *("settings_form", "settings"),
            {"loud": False},
        )
        assert [event.seq for event in rest] == whole[-3:]
        # From there on nothing is missing, and nothing comes twice.
        await said(tab, 1)
        await tab.drop()
        await aemit_to(tab.session_id, "news", 1)
        assert await tab.resume()
        assert (await tab.receive_event("news")).data == 1
        assert contents(tab) == ["re 3", "4", "re 4", "0", "re 0"]
        assert tab.problems == []
        while await tab.load_earlier(3):
            pass
        assert contents(tab)[:4] == ["0", "re 0", "1", "re 1"]
        assert [event.seq for event in tab.events] == list(range(1, tab.received + 1))


@pytest.mark.django_db(transaction=True)
async def test_a_short_log_comes_as_a_whole(echo: Chat) -> None:
    async with visit(echo, latest=4) as tab:
        await said(tab, 2)
        assert await tab.reload()
        assert contents(tab) == ["0", "re 0", "1", "re 1"]
        assert not tab.has_earlier
        assert [event.seq for event in tab.events] == list(range(1, tab.received + 1))


@pytest.mark.django_db(transaction=True)
async def test_what_is_open_is_among_what_comes(chat: Chat) -> None:
    @chat.on_message
    async def answer() -> None:
        streamed = Message(id="streamed")
        await streamed.stream_token("so ")
        await streamed.stream_token("far")
        await AskUserMessage("Your name?", timeout=None).send()
        await streamed.update()

    async with visit(chat, latest=2) as tab:
        turn = await tab.send("hello")
        asked = await tab.receive_event("ask")
        for number in range(9):
            await aemit_to(tab.session_id, "message", {"id": f"{number}", "content": f"{number}"})
        await tab.wait_until(lambda: contents(tab)[-1:] == ["8"])
        assert await tab.reload()
        await tab.wait_until(lambda: contents(tab)[:1] == ["so far"])
        assert contents(tab) == ["so far", *map(str, range(9))]
        await tab.answer(asked.data["call"], {"content": "Ada"})
        assert await tab.wait_for_turn(turn) == "done"
        assert await tab.load_earlier() is False
        assert contents(tab)[:2] == ["hello", "so far"]


@pytest.mark.django_db(transaction=True)
async def test_it_is_for_clients_that_have_nothing(echo: Chat) -> None:
    async with visit(echo, latest=1) as tab:
        await said(tab, 1)
        await tab.drop()
        for number in range(5):
            await aemit_to(tab.session_id, "message", {"id": f"{number}", "content": f"{number}"})
        assert await tab.resume()
        await tab.wait_until(lambda: contents(tab)[-1:] == ["4"])
        assert contents(tab) == ["0", "re 0", *map(str, range(5))]


@pytest.mark.django_db(transaction=True)
async def test_nobody_learns_of_a_session_that_is_not_theirs(echo: Chat) -> None:
    async with visit(echo) as tab:
        await said(tab, 3)
        session = tab.session_id
    async with visit(echo, session=session, token="wrong", latest=1) as other:
        assert (other.resumed, other.has_earlier) == (False, False)
        await other.receive_event("settings")
        assert contents(other) == []
        assert [event.name for event in other.events] == ["settings_form", "settings"]


@pytest.mark.parametrize("latest", [0, -1, 1001, "5", 1.5])
def test_what_is_no_count_of_messages_is_refused(latest: Any) -> None:
    with pytest.raises(FrameError, match="latest"):
        frames.decode(json.dumps({"type": "hello", "latest": latest}))


@pytest.mark.django_db(transaction=True)
async def test_the_api_reads_what_the_websocket_has_left_out(echo: Chat) -> None:
    async with visit(echo, latest=1) as tab:
        await said(tab, 3)
        whole = [(event.seq, event.name, event.data) for event in tab.events]
        assert await tab.reload()
        first = tab.events[-1].seq
        response = await AsyncClient().get(
            url(str(tab.session_id)), {"before": first}, headers=bearer(tab.token)
        )
        page = json.loads(response.content)
        assert page["before"] is None
        found = [(one["seq"], one["name"], one["data"]) for one in page["entries"]]
        assert [*found, whole[-1]] == whole
    await sync_to_async(ChatSession.objects.all().delete)()

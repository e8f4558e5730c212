"""Requests whose session another worker holds: what they get is what they would get there."""

from __future__ import annotations

import asyncio
import json
import os
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient
from django.urls import URLPattern, path
from django.utils import timezone

from chatsessions import AskUserMessage, Chat, Message, context, http_session, user_session
from chatsessions.cluster.commands import Attach
from chatsessions.cluster.connect_request import ConnectRequest
from chatsessions.cluster.connected import ConnectedSession
from chatsessions.cluster.directory import Owner
from chatsessions.cluster.visited import VisitedSession
from chatsessions.http.view import ChatView
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.models import Worker as WorkerRow
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.workers.worker import Worker, get_worker

from .support.layer import LossyLayer, impatient
from .support.sessions import eventually, until
from .test_http import STREAM, URL, Api, frames_of, read, texts, welcomed
from .test_remote import HintlessLayer, Tab, two_workers

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

lossy = pytest.mark.parametrize("loss", [0.0, 0.3], ids=["no loss", "loss"])


class Bot:
    """A chat whose handlers wait at a gate."""

    def __init__(self) -> None:
        self.chat = chat = Chat("visited")
        self.gate = asyncio.Event()
        self.ended: list[str] = []

        @chat.on_message
        async def handle(message: Message) -> None:
            user_session["count"] = user_session.get("count", 0) + 1
            await Message(f"{user_session['count']}: {message.content}").send()
            if message.content == "wait":
                await self.gate.wait()
                await Message("waited").send()
            elif message.content == "stream":
                answer = Message()
                await answer.stream_token("one ")
                await self.gate.wait()
                await answer.stream_token("two")
                await answer.send()
            elif message.content == "ask":
                answer = await AskUserMessage("Who?").send()
                await Message(f"You are {answer and answer['output']}.").send()
            elif message.content == "fail":
                raise RuntimeError("secret")

        @chat.on_chat_end
        async def end(reason: str) -> None:
            self.ended.append(reason)
            await Message("bye").send()


@pytest.fixture
def bot() -> Bot:
    return Bot()


@pytest.fixture(autouse=True)
def urls(bot: Bot, settings: Settings) -> list[URLPattern]:
    """A project whose only page is the chat, with a view of its own beside it."""
    module = types.ModuleType("urls")

    async def own(request: HttpRequest) -> JsonResponse:
        async with http_session(request, chat=bot.chat, session=request.GET["session"]) as found:
            before = user_session.get("count", 0)
            user_session["count"] = before + 10
            await Message(f"from {before}").send()
            assert context.session is found.session
        return JsonResponse(
            {"session": str(found.session.id), "resumed": found.resumed, "events": found.events}
        )

    module.urlpatterns = [path("chat/", ChatView.as_view(chat=bot.chat)), path("own/", own)]
    settings.ROOT_URLCONF = module
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    return module.urlpatterns


class RemoteApi(Api):
    """Requests to this worker, for a session that ``owner`` holds."""

    def __init__(self, tab: Tab, owner: Worker) -> None:
        super().__init__(AsyncClient())
        self.tab = tab
        self.owner = owner
        self.session = str(tab.id)
        self.secret = tab.welcome["token"]

    @property
    def live(self) -> LiveSession:
        return self.owner.live[self.tab.id]

    async def post(self, content: str | None = None, **body: Any) -> Any:
        return await super().post(content, session=self.session, token=self.secret, **body)

    def asked(self, **headers: str) -> dict[str, Any]:
        return {"headers": headers | {"Authorization": f"Bearer {self.secret}"}}

    async def get(self, **query: Any) -> Any:
        return await self.client.get(URL, query | {"session": self.session}, **self.asked())

    async def delete(self) -> Any:
        body = json.dumps({"session": self.session})
        return await self.client.delete(URL, body, content_type="application/json", **self.asked())

    async def own_view(self) -> dict[str, Any]:
        response = await self.client.get("/own/", {"session": self.session}, **self.asked())
        told: dict[str, Any] = response.json()
        return told

    async def follow(self, after: int = 0) -> Any:
        """A stream of what comes."""
        query = {"session": self.session, "after": str(after)}
        return await self.client.get(URL, query, **self.asked(**STREAM))


@asynccontextmanager
async def held_elsewhere(
    bot: Bot,
    say: str = "wait",
    *,
    loss: float = 0.0,
    layer: LossyLayer | None = None,
    user: User | None = None,
) -> AsyncIterator[RemoteApi]:
    """A session that another worker is busy with, and whose client's line is broken."""
    async with two_workers(layer or LossyLayer(loss=loss, seed=5)) as (here, there):
        assert here is get_worker()
        tab = await Tab.open(there, bot.chat, user=user)
        await tab.say(say)
        await until(lambda: tab.texts)
        tab.leave()
        api = RemoteApi(tab, there)
        yield api
        bot.gate.set()
        await until(lambda: not here.remotes)
        assert here.live == {}


async def is_owned_by(session_id: UUID, worker: Worker | None) -> bool:
    row = await ChatSession.objects.aget(pk=session_id)
    return row.worker_id == (worker and worker.id)


def followers_here() -> set[Subscriber]:
    """Who follows a session of another worker here."""
    [remote] = get_worker().remotes.values()
    return remote._follower.subscribers.followers


# Posting


@lossy
async def test_an_event_waits_there_and_is_answered_here(bot: Bot, loss: float) -> None:
    async with held_elsewhere(bot, loss=loss) as api:
        request = asyncio.create_task(api.say("queued"))
        await until(lambda: len(api.live.turns.queue) == 1)
        assert await is_owned_by(api.tab.id, api.owner)
        bot.gate.set()
        told = await request
        assert told["turn"] == {"turn": 2, "name": "message", "status": "done"}
        assert texts(told) == ["2: queued"]
        assert (told["resumed"], told["session"]) == (True, api.session)
        # Nobody needs it there any more, and the next request takes it.
        await until(lambda: not api.owner.live)
        assert texts(await api.say("again")) == ["3: again"]
        await until(lambda: not get_worker().live)


@lossy
async def test_a_stream_is_told_as_it_comes(bot: Bot, loss: float) -> None:
    async with held_elsewhere(bot, loss=loss) as api:
        response = await api.post("stream", headers=STREAM)
        parts = aiter(response.streaming_content)
        told = [frames_of(await anext(parts))[0]]
        bot.gate.set()
        told += await read(parts)
        assert told[0]["type"] == "welcome"
        assert (told[0]["resumed"], told[0]["turn"], told[0]["token"]) == (True, 1, api.secret)
        own = [frame for frame in told if frame.get("turn") == 2]
        assert [(one["type"], one.get("status")) for one in own if one["type"] == "turn"] == [
            ("turn", "running"),
            ("turn", "done"),
        ]
        tokens = "".join(one["text"] for one in told if one["type"] == "token")
        assert tokens == "one two" or loss  # what is lost comes with the whole, or before
        [whole] = [one["data"] for one in told if one.get("name") == "message_update"]
        assert whole["content"] == "one two"
        [accepted] = [frame for frame in told if frame["type"] == "accepted"]
        assert accepted["n"] == 2
        seqs = [frame["seq"] for frame in told if "seq" in frame]
        assert seqs == list(range(accepted["seq"], accepted["seq"] + len(seqs)))
        assert told[-1] == {"type": "turn", "turn": 2, "name": "message", "status": "done"}


async def test_tokens_come_before_the_turn_is_over(bot: Bot) -> None:
    async with held_elsewhere(bot, "stream") as api:
        await until(lambda: api.live.sink.so_far)
        response = await api.follow(3)
        parts = aiter(response.streaming_content)
        first = [frames_of(await anext(parts))[0] for _ in range(2)]
        assert [one["type"] for one in first] == ["welcome", "stream"]
        assert first[1]["content"] == "one "
        bot.gate.set()
        rest = await read(parts)
        assert [one["type"] for one in rest] == ["token", "event", "turn"]
        assert rest[0]["text"] == "two"


@pytest.mark.slow
@lossy
async def test_a_repeat_is_known(bot: Bot, loss: float) -> None:
    async with held_elsewhere(bot, loss=loss) as api:
        key = str(uuid4())
        requests = [asyncio.create_task(api.say("once", id=key)) for _ in range(3)]
        await until(lambda: len(api.live.turns.queue) == 1)
        await until(lambda: len(followers_here()) == 3)
        assert len(api.live.subscribers.followers) == 1  # for all of them
        bot.gate.set()
        answers = await asyncio.gather(*requests)
        assert [texts(one) for one in answers] == [["2: once"]] * 3
        assert [one["turn"]["turn"] for one in answers] == [2] * 3
        assert await SessionEvent.objects.filter(n__isnull=False).acount() == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_of_what_is_done_while_something_else_runs(bot: Bot, stream: bool) -> None:
    async with two_workers() as (here, there):
        tab = await Tab.open(there, bot.chat)
        key = str(uuid4())
        await tab.ends(await tab.send("message", {"content": "fail", "id": key}))
        await tab.say("wait")
        await until(lambda: len(tab.texts) == 2)
        tab.leave()
        api = RemoteApi(tab, there)
        if stream:
            told = await api.stream("fail", id=key)
            assert told[-1] == {"type": "turn", "turn": 1, "name": "message", "status": "failed"}
            assert [frame["seq"] for frame in told if "seq" in frame] == [2, 3, 4, 5]
        else:
            told = (await api.post("fail", id=key)).told
            assert told["turn"] == {"turn": 1, "name": "message", "status": "failed"}
            assert [event["name"] for event in told["events"]] == ["message", "error"]
        bot.gate.set()
        await until(lambda: not there.live and not here.remotes)


@lossy
async def test_a_question_that_was_asked_there_is_answered_here(bot: Bot, loss: float) -> None:
    async with held_elsewhere(bot, "ask", loss=loss) as api:
        await until(lambda: any(one.get("name") == "ask" for one in api.tab.frames))
        call = next(one for one in api.tab.frames if one.get("name") == "ask")["data"]["call"]
        bad = await api.post(call=call, data={"id": 5})
        assert (bad.status_code, bad.told["error"]) == (400, "bad_request")
        response = await api.post(call=call, data={"content": "Ada"})
        assert response.status_code == 200
        assert response.told["turn"] == {"turn": 1, "name": "message", "status": "done"}
        assert texts(response.told) == ["You are Ada."]


async def test_what_is_asked_meanwhile_ends_the_wait(bot: Bot) -> None:
    async with held_elsewhere(bot) as api:
        request = asyncio.create_task(api.post("ask"))
        await until(lambda: len(api.live.turns.queue) == 1)
        bot.gate.set()
        response = await request
        assert response.status_code == 202
        [ask] = [one["data"] for one in response.told["events"] if one["name"] == "ask"]
        assert texts((await api.post(call=ask["call"], data={"content": "B"})).told) == [
            "You are B."
        ]


async def test_an_owner_may_have_taken_the_session_anew_since_its_row_was_read(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request took the owner's new generation for another owner's, and was told 503."""
    held: list[LiveSession] = []
    async with held_elsewhere(bot) as api:
        here = get_worker()
        ask = here.directory.ask_in_turn

        async def ask_later(owner: Owner, command: Attach) -> Any:
            monkeypatch.undo()
            bot.gate.set()
            await until(lambda: not api.owner.live)
            bot.gate.clear()
            held.append(await api.owner.acquire(api.tab.id))
            return await ask(owner, command)

        monkeypatch.setattr(here.directory, "ask_in_turn", ask_later)
        request = asyncio.create_task(api.post("wait"))
        await until(lambda: held and held[0].turns.job)
        [remote] = here.remotes.values()
        await remote._take_look(await remote._look())  # as it does once a second
        assert not remote.closed
        bot.gate.set()
        response = await request
        assert response.status_code == 200
        assert texts(response.told) == ["2: wait", "waited"]
        held[0].release()


async def test_a_websocket_that_is_connected_there_has_the_session_to_itself(bot: Bot) -> None:
    async with two_workers() as (here, there):
        tab = await Tab.open(there, bot.chat)
        await tab.ends(await tab.say("hello"))
        api = RemoteApi(tab, there)
        for _ in range(2):
            response = await api.post("by http")
            assert (response.status_code, response.told["error"]) == (409, "session_connected")
        assert tab.closed is None
        assert [event["seq"] for event in (await api.get()).json()["events"]] == [1, 2]
        await tab.ends(await tab.say("still here"))
        assert there.live.keys() == {tab.id}
        assert here.live == {}
        tab.leave()


async def test_a_session_that_is_relayed_is_reached_where_it_is(bot: Bot) -> None:
    """Its connection is here, it is there, and the request is here as well."""
    async with two_workers() as (here, there):
        old = await Tab.open(there, bot.chat)
        await old.say("wait")
        await until(lambda: old.texts)
        tab = await Tab.open(here, bot.chat, old)
        assert isinstance(tab.served, ConnectedSession)
        api = RemoteApi(tab, there)
        response = await api.post("by http")
        assert (response.status_code, response.told["error"]) == (409, "session_connected")
        assert texts((await api.get()).json())[-1] == "1: wait"
        bot.gate.set()
        await until(lambda: isinstance(tab.served, LiveSession))
        assert tab.closed is None
        tab.leave()


async def test_too_much_is_refused_as_it_is_there(bot: Bot, settings: Settings) -> None:
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "MAX_PENDING_EVENTS": 1}
    async with held_elsewhere(bot) as api:
        request = asyncio.create_task(api.say("queued"))
        await until(lambda: len(api.live.turns.queue) == 1)
        response = await api.post("too much")
        assert (response.status_code, response.told["error"]) == (429, "busy")
        assert response.told["retry_after"] > 0
        bot.gate.set()
        assert texts(await request) == ["2: queued"]


# Reading and ending


@lossy
async def test_what_there_is(bot: Bot, loss: float) -> None:
    async with held_elsewhere(bot, loss=loss) as api:
        told = (await api.get()).json()
        assert [event["seq"] for event in told["events"]] == [1, 2]
        assert told["events"][0]["n"] == 1
        assert told["turn"] == {"turn": 1, "name": "message", "status": "running"}
        assert (told["first"], told["head"], told["resumed"]) == (1, 2, True)


@lossy
async def test_a_turn_that_ends_beside_another_one_does_not_hide_it(bot: Bot, loss: float) -> None:
    bot.chat.beside = frozenset({"ping"})

    @bot.chat.on_event("ping")
    async def ping() -> None:
        await Message("pong").send()

    async with held_elsewhere(bot, loss=loss) as api:
        first = await api.follow()  # keeps what is known of the session here
        told = (await api.post(name="ping")).told
        assert told["turn"] == {"turn": 2, "name": "ping", "status": "done"}
        running = {"turn": 1, "name": "message", "status": "running"}
        assert (await api.get()).json()["turn"] == running
        second = await api.follow()
        parts = aiter(second.streaming_content)
        assert frames_of(await anext(parts))[0]["turn"] == 1
        await parts.aclose()
        for response in (first, second):
            await sync_to_async(response.close)()


@lossy
async def test_following_ends_when_nothing_runs(bot: Bot, loss: float) -> None:
    async with held_elsewhere(bot, loss=loss) as api:
        posted = asyncio.create_task(api.say("queued"))
        await until(lambda: len(api.live.turns.queue) == 1)
        response = await api.follow()
        parts = await welcomed(response)
        bot.gate.set()
        told = await read(parts)
        turns = [(one["turn"], one["status"]) for one in told if one["type"] == "turn"]
        if loss:  # of what was lost, the row tells how it has ended
            turns = [turn for turn in turns if turn != (2, "running")]
            assert turns == [(1, "done"), (2, "done")]
        else:
            assert turns == [(1, "done"), (2, "running"), (2, "done")]
        assert [frame["seq"] for frame in told if "seq" in frame] == [1, 2, 3, 4, 5]
        assert texts(await posted) == ["2: queued"]
        await until(lambda: not api.owner.live)
        assert (await api.follow(5)).status_code == 204


@lossy
async def test_ending_runs_on_chat_end_there(bot: Bot, loss: float) -> None:
    async with held_elsewhere(bot, loss=loss) as api:
        request = asyncio.create_task(api.post("queued"))
        await until(lambda: len(api.live.turns.queue) == 1)
        response = await api.delete()
        assert response.status_code == 204
        assert bot.ended == ["user"]
        assert api.owner.live == {}
        told = (await request).told
        assert (told["turn"]["status"], told["ended"]) == ("stopped", "user")
        assert texts(told) == ["bye"]
        assert (await api.post("more")).status_code == 410


# Views of one's own


@lossy
async def test_a_view_works_with_a_session_there(bot: Bot, loss: float) -> None:
    async with held_elsewhere(bot, loss=loss) as api:
        told = await api.own_view()
        assert told["resumed"]
        assert [event["data"]["content"] for event in told["events"]] == ["from 1"]
        assert told["events"][0]["seq"] == 3
        assert api.live.user_session["count"] == 11
        bot.gate.set()
        assert texts(await api.say("then")) == ["12: then"]


@lossy
async def test_a_session_that_only_a_view_has_used_is_not_unused(bot: Bot, loss: float) -> None:
    """Such a session was ended after minutes, as one in which nothing ever happened."""
    async with two_workers(LossyLayer(loss=loss, seed=5)) as (here, there):
        tab = await Tab.open(there, bot.chat)  # who is connected is not given away to a request
        api = RemoteApi(tab, there)
        unused = ChatSession.objects.unused()
        assert [row.pk async for row in unused.all()] == [tab.id]
        assert (await api.get()).status_code == 200
        assert [row.pk async for row in unused.all()] == [tab.id]
        await api.own_view()
        assert [row.pk async for row in unused.all()] == []
        assert await is_owned_by(tab.id, there)
        tab.leave()
        await until(lambda: not here.remotes)


async def test_a_view_is_told_nothing_twice(bot: Bot, urls: list[URLPattern]) -> None:
    """What others send meanwhile comes once, and what the client says is no event of the view's."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def own(request: HttpRequest) -> JsonResponse:
        async with http_session(request, chat=bot.chat, session=request.GET["session"]) as found:
            begun.set()
            await go_on.wait()
            await Message("from here").send()
        return JsonResponse({"events": found.events})

    async with held_elsewhere(bot) as api:
        urls[:] = [path("own/", own)]
        request = asyncio.create_task(api.own_view())
        await begun.wait()
        bot.gate.set()
        await until(lambda: api.live.turns.is_idle)
        go_on.set()
        told = (await request)["events"]
        assert [one["data"]["content"] for one in told] == ["waited", "from here"]
        assert [one["seq"] for one in told] == [3, 4]


# Whose it is


async def test_only_its_own_client_gets_it(bot: Bot) -> None:
    async with held_elsewhere(bot) as api:
        api.secret = "wrong"
        assert (await api.get()).status_code == 404
        assert (await api.delete()).status_code == 404
        told = await api.say("hello")
        assert (told["resumed"], told["reason"]) == (False, "unknown")
        assert told["session"] != api.session
        assert len(api.live.turns.queue) == 0


async def test_the_logged_in_owner_needs_no_token(bot: Bot) -> None:
    ada = await User.objects.acreate_user("ada")
    eve = await User.objects.acreate_user("eve")
    async with held_elsewhere(bot, user=ada) as api:
        await User.objects.filter(pk=ada.pk).aupdate(first_name="Augusta")
        api.secret = ""
        assert (await api.get()).status_code == 404
        await api.client.aforce_login(eve)
        assert (await api.get()).status_code == 404
        await api.client.aforce_login(ada)
        assert texts((await api.get()).json()) == ["wait", "1: wait"]
        assert api.live.session.user.first_name == "Augusta"


async def test_a_request_ends_with_its_login(bot: Bot, urls: list[URLPattern]) -> None:
    """What it has posted is handled all the same, where the session is."""
    view = ChatView.as_view(chat=bot.chat, login_required=True)
    urls[:] = [path("chat/", view)]
    ada = await User.objects.acreate_user("ada")
    async with held_elsewhere(bot, user=ada) as api:
        await api.client.aforce_login(ada)
        stream = await api.post("first", headers=STREAM)
        parts = aiter(stream.streaming_content)
        waiting = asyncio.create_task(api.post("second"))
        await until(lambda: len(api.live.turns.queue) == 2)
        await api.client.alogout()
        told = await read(parts)
        assert (told[-1]["type"], told[-1]["code"]) == ("error", "unauthorized")
        assert (await waiting).status_code == 401
        await until(lambda: not api.live.holders and not get_worker().remotes)
        bot.gate.set()
        await until(lambda: not api.owner.live)
        assert (await ChatSession.objects.aget(pk=api.tab.id)).handled == 3


# Nobody there


async def test_without_a_way_it_is_left_alone(bot: Bot, caplog: pytest.LogCaptureFixture) -> None:
    """And the answer comes at once: there is nothing to wait for."""
    async with held_elsewhere(bot) as api:
        get_worker().rpc.channel = ""
        await WorkerRow.objects.filter(pk=api.owner.id).aupdate(pid=os.getppid())
        for response in (await api.post("x"), await api.get(), await api.delete()):
            told = response.json()
            assert (response.status_code, told["error"]) == (503, "owner_unreachable")
            assert response.headers["Retry-After"] == "1"
            assert "CHANNEL_LAYERS" in told["detail"]
        assert "CHANNEL_LAYERS" in caplog.text
        assert api.live.position.accepted == 1
        assert bot.ended == []


async def test_another_event_loop_of_the_process_is_waited_for_and_not_called_another_process(
    bot: Bot, caplog: pytest.LogCaptureFixture
) -> None:
    """A call from outside has a session for a moment; if it keeps it, no layer is to blame."""
    async with held_elsewhere(bot) as api:
        get_worker().rpc.channel = ""
        with impatient():
            response = await api.post("too early")
        assert (response.status_code, response.told["error"]) == (503, "owner_unreachable")
        assert "The session is in use" in response.told["detail"]
        assert "another event loop of this process" in caplog.text
        assert "CHANNEL_LAYERS" not in caplog.text
        waiting = asyncio.create_task(api.post("patient"))
        bot.gate.set()
        assert texts((await waiting).told) == ["2: patient"]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_owner_dies_while_somebody_waits(
    bot: Bot, settings: Settings, stream: bool
) -> None:
    """And what was posted is taken once, however often it is posted."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "WORKER_STALE": 120, "WORKER_HEARTBEAT": 60}
    layer = LossyLayer()
    async with held_elsewhere(bot, layer=layer) as api:
        key = str(uuid4())
        headers = STREAM if stream else {}
        waiting = asyncio.create_task(api.post("queued", id=key, headers=headers))
        await until(lambda: len(api.live.turns.queue) == 1)
        if stream:
            parts = await welcomed(await waiting)
        layer.is_cut = True
        long_ago = timezone.now() - timedelta(hours=1)
        await WorkerRow.objects.filter(pk=api.owner.id).aupdate(heartbeat_at=long_ago)
        if stream:
            told = await read(parts)
            assert not [one for one in told if one["type"] == "turn"]
        else:
            response = await waiting
            assert (response.status_code, response.told["error"]) == (503, "owner_unreachable")
            assert response.headers["Retry-After"] == "1"
        again = await api.say("queued", id=key)
        assert again["turn"] == {"turn": 2, "name": "message", "status": "done"}
        assert texts(again) == ["2: queued"]
        outcomes = SessionEvent.objects.filter(n__isnull=False).order_by("n")
        assert [row.status async for row in outcomes] == ["interrupted", None]


async def test_an_owner_that_gives_no_sign(bot: Bot) -> None:
    layer = LossyLayer()
    async with held_elsewhere(bot, layer=layer) as api:
        layer.is_cut = True
        with impatient():
            response = await api.post("x")
        assert (response.status_code, response.told["error"]) == (503, "owner_unreachable")
        layer.is_cut = False
        assert api.live.position.accepted == 1


async def test_a_layer_that_is_cut_costs_the_visitor_a_delay(bot: Bot) -> None:
    layer = LossyLayer()
    async with held_elsewhere(bot, layer=layer) as api:
        response = await api.post("queued", headers=STREAM)
        parts = await welcomed(response)
        layer.is_cut = True
        bot.gate.set()
        await until(lambda: not api.live.is_busy)
        told: list[dict[str, Any]] = []
        while "2: queued" not in texts({"events": [one for one in told if "data" in one]}):
            told += frames_of(await anext(parts))  # by the log
        layer.is_cut = False
        told += await read(parts)
        assert told[-1] == {"type": "turn", "turn": 2, "name": "message", "status": "done"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("whose", ["the owner", "this worker"])
async def test_a_worker_stops(bot: Bot, settings: Settings, whose: str, stream: bool) -> None:
    """What the owner takes no time for is done by whoever has the session next."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "SHUTDOWN_TIMEOUT": 0.1}
    async with held_elsewhere(bot) as api:
        headers = STREAM if stream else {}
        key = str(uuid4())
        waiting = asyncio.create_task(api.post("queued", id=key, headers=headers))
        await until(lambda: len(api.live.turns.queue) == 1)
        if stream:
            response = await waiting
        async with asyncio.timeout(90):
            await (api.owner if whose == "the owner" else get_worker()).shut_down()
            if stream:
                told = await read(response.streaming_content)
                assert told[-1]["type"] == "accepted"
            else:
                response = await waiting
                assert response.status_code == 202
                assert response.told["turn"]["status"] == "running"
        if whose == "the owner":
            assert texts(await api.say("queued", id=key)) == ["2: queued"]
        else:
            await until(lambda: not api.live.holders)
            assert len(api.live.turns.queue) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_visitor_that_goes_away_is_missed_by_nobody(bot: Bot, stream: bool) -> None:
    async with held_elsewhere(bot) as api:
        if stream:
            response = await api.follow()
            parts = await welcomed(response)
            assert api.live.holders == len(api.live.subscribers.followers) == 1
            await parts.aclose()
            await sync_to_async(response.close)()
        else:
            waiting = asyncio.create_task(api.post("queued"))
            await until(lambda: len(api.live.turns.queue) == 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await until(lambda: not api.live.holders and not api.live.subscribers.followers)
        assert api.live.turns.number == 1


@pytest.mark.parametrize("fails", [False, True], ids=["goes away", "cannot be brought up to date"])
async def test_a_second_visitor_that_does_not_get_in_holds_nothing(
    bot: Bot, settings: Settings, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Else the owner would keep the session in memory until this worker ends."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "WORKER_STALE": 120, "WORKER_HEARTBEAT": 60}
    monkeypatch.setattr("chatsessions.cluster.remote.POLL", 60.0)
    reads = asyncio.Event()

    async def read_log(after: int, limit: int) -> list[Entry]:
        reads.set()
        if not fails:
            await asyncio.Event().wait()
        raise OperationalError("the log cannot be read")

    async with held_elsewhere(bot, layer=HintlessLayer(lambda _: True)) as api:
        response = await api.follow()
        parts = aiter(response.streaming_content)
        told = [frames_of(await anext(parts))[0] for _ in range(3)]
        assert [one["type"] for one in told] == ["welcome", "event", "event"]
        bot.gate.set()
        await until(lambda: not api.live.is_busy)  # this worker does not know of it
        [remote] = get_worker().remotes.values()
        with monkeypatch.context() as patch:
            patch.setattr(remote._follower, "read_log", read_log)
            second = asyncio.create_task(api.get())
            await reads.wait()
            if fails:
                assert (await second).status_code == 503
            else:
                second.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await second
        assert get_worker().remotes, "the first visitor is there"
        await parts.aclose()
        await sync_to_async(response.close)()
        await until(lambda: not get_worker().remotes and not api.owner.live)


async def test_a_visitor_whose_worker_dies_holds_nothing(bot: Bot, settings: Settings) -> None:
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "WORKER_STALE": 1, "WORKER_HEARTBEAT": 0.2}
    layer = LossyLayer()
    async with held_elsewhere(bot, layer=layer) as api:
        response = await api.follow()
        assert api.live.holders == 1
        layer.is_cut = True
        await until(lambda: not api.live.holders and not api.live.subscribers.followers)
        bot.gate.set()
        await until(lambda: not api.owner.live)
        assert await is_owned_by(api.tab.id, None)
        await sync_to_async(response.close)()


async def test_a_reader_that_stays_for_long_keeps_the_session_alive(
    bot: Bot, settings: Settings
) -> None:
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "HEARTBEAT": 0.1}
    async with held_elsewhere(bot) as api:

        async def seen_at() -> Any:
            return (await ChatSession.objects.aget(pk=api.tab.id)).disconnected_at

        response = await api.follow()
        parts = aiter(response.streaming_content)
        since = await seen_at()
        while await anext(parts) != b":\n\n":
            pass

        async def is_seen() -> bool:
            return bool(await seen_at() > since)

        await eventually(is_seen)
        await parts.aclose()
        await sync_to_async(response.close)()


async def test_of_two_workers_that_are_asked_at_once_one_has_it(bot: Bot) -> None:
    async with two_workers() as workers:
        tab = await Tab.open(workers[0], bot.chat)
        await tab.ends(await tab.say("hello"))
        tab.leave()
        arrival = ConnectRequest(
            user=AnonymousUser(), session_id=str(tab.id), token=tab.welcome["token"]
        )
        for _ in range(10):
            await until(lambda: not any(worker.live for worker in workers))
            comes = (worker.receive(bot.chat, arrival) for worker in workers)
            found = [one for one, _ in await asyncio.gather(*comes)]
            assert {type(one) for one in found} == {LiveSession, VisitedSession}
            assert sum(len(worker.live) for worker in workers) == 1
            for one in found:
                one.release()

"""What a client may not do over a websocket, it may not by HTTP either."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient
from django.urls import path

from chatsessions import (
    Action,
    AskActionMessage,
    AskUserMessage,
    Chat,
    ChatProfile,
    ChatSettings,
    Message,
    user_session,
)
from chatsessions.http.view import ChatView
from chatsessions.input_widget import Select
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.workers.worker import Worker

from .test_http import URL, Api, texts

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def urls(chat: Chat, settings: Settings) -> None:
    """A project with one chat, which asks, offers, and lets its user choose."""

    @chat.on_chat_start
    async def start() -> None:
        await ChatSettings(
            [Select(id="size", label="Size", values=["S", "L"], initial_index=0)]
        ).send()
        await Message("hello", actions=[Action("go", {"by": 1})]).send()

    @chat.on_message
    async def ask(message: Message) -> None:
        if message.content == "choose":
            answer: Any = await AskActionMessage("?", actions=[Action("yes")]).send()
        else:
            answer = await AskUserMessage("?").send()
        user_session["answer"] = answer
        await Message("thanks").send()

    @chat.on_action("go")
    async def go(action: Action) -> None:
        await Message(f"gone by {action.payload['by']}").send()

    @chat.on_event("count")
    async def count(number: int) -> None:
        user_session["count"] = [*user_session.get("count", []), number]

    settings.ROOT_URLCONF = (path("chat/", ChatView.as_view(chat=chat)),)
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]


async def member(name: str) -> Api:
    client = AsyncClient()
    await client.aforce_login(await User.objects.acreate_user(name))
    return Api(client)


async def refused(api: Api, status: int, code: str, **body: Any) -> None:
    response = await api.post(**body)
    assert (response.status_code, response.told["error"]) == (status, code), response.told


async def asked(api: Api, content: str = "") -> dict[str, Any]:
    """Say something, and be asked."""
    response = await api.post(content)
    assert response.status_code == 202
    [ask] = [event["data"] for event in response.told["events"] if event["name"] == "ask"]
    return dict(ask)


# Answers


@pytest.mark.parametrize(
    ("question", "data"),
    [
        ("", None),
        ("", "Ada"),
        ("", {"content": 1}),
        ("", {"id": "an action"}),
        ("", {"files": []}),
        ("choose", {"content": "yes"}),
        ("choose", {"id": "made up"}),
        ("choose", {"id": None}),
        ("choose", {"files": ["x"]}),
    ],
)
async def test_an_answer_of_the_wrong_kind_is_refused_and_the_question_stays(
    worker: Worker, question: str, data: Any
) -> None:
    api = Api()
    ask = await asked(api, question)
    await refused(api, 400, "bad_request", call=ask["call"], data=data)
    right = {"id": ask["actions"][0]["id"]} if question else {"content": "Ada"}
    told = await api.post(call=ask["call"], data=right)
    assert (told.status_code, texts(told.told)) == (200, ["thanks"])


async def test_anothers_question_and_one_that_is_closed_are_answered_by_nobody(
    worker: Worker,
) -> None:
    victim, stranger = Api(), Api()
    call = (await asked(victim))["call"]
    await stranger.post(name="count", data=1)
    await refused(stranger, 409, "call_closed", call=call, data={"content": "Mallory"})
    assert (await victim.post(call=call, data={"content": "Ada"})).status_code == 200
    await refused(victim, 409, "call_closed", call=call, data={"content": "again"})
    row = await ChatSession.objects.aget(state__contains="Ada")
    assert "Mallory" not in row.state
    assert "again" not in row.state


# Choices


async def test_an_action_that_is_not_offered(worker: Worker) -> None:
    api = Api()
    first = await api.post(name="count", data=1)
    [offered] = [
        action
        for event in first.told["events"]
        if event["name"] == "message"
        for action in event["data"]["actions"]
    ]
    await refused(api, 403, "forbidden", name="action", data={"id": str(uuid4()), "name": "go"})
    await refused(api, 403, "forbidden", name="action", data={**offered, "name": "other"})
    await refused(api, 400, "bad_request", name="action", data={"name": "go"})
    stranger = Api()
    await stranger.post(name="count", data=1)
    await refused(stranger, 403, "forbidden", name="action", data=offered)
    forged = {**offered, "payload": {"by": 99}}
    assert texts((await api.post(name="action", data=forged)).told) == ["gone by 1"]


@pytest.mark.parametrize("data", [{"none": 1}, {"size": "XL"}, {"size": 7}, [], None, "S"])
async def test_settings_of_another_key_type_or_range(worker: Worker, data: Any) -> None:
    api = Api()
    await api.post(name="count", data=1)
    await refused(api, 400, "bad_request", name="settings", data=data)
    row = await ChatSession.objects.aget()
    assert row.chat_settings == {"size": "S"}


async def test_a_profile_that_is_not_offered(worker: Worker, chat: Chat) -> None:
    @chat.profiles
    async def profiles() -> list[ChatProfile]:
        return [ChatProfile(name="fast", markdown_description="")]

    for name in ("slow", "Fast", "fast\0"):
        response = await Api().post("a", profile=name)
        assert response.status_code in (400, 403)
    assert not await ChatSession.objects.aexists()
    assert (await Api().post(name="count", data=1, profile="fast")).status_code == 200


# Keys


@pytest.mark.parametrize("env", [[], "KEY", 5, {"KEY": 5}, {"KEY": None}, {"KEY": {"a": "b"}}])
async def test_env_of_wrong_types_quotes_nothing(worker: Worker, env: Any) -> None:
    response = await Api().post("a", env=env)
    assert (response.status_code, response.told["error"]) == (400, "bad_request")
    assert "KEY" not in response.told["detail"].replace("env", "")
    assert not await ChatSession.objects.aexists()


async def test_env_of_ten_megabytes_and_of_a_thousand_keys(worker: Worker) -> None:
    await refused(Api(), 413, "too_large", content="a", env={"KEY": "x" * 10_000_000})
    many = {f"KEY_{number}": "x" for number in range(1000)}
    await refused(Api(), 400, "bad_request", content="a", env=many)
    assert not await ChatSession.objects.aexists()


# Threads


async def test_the_thread_of_another_user_is_as_unknown(worker: Worker, chat: Chat) -> None:
    await (await member("ada")).post(name="count", data=1)
    thread = str((await ChatSession.objects.aget()).thread_id)
    for asked_for in (thread, str(uuid4()), "../../etc/passwd"):
        for api in (await member(f"eve {asked_for[:9]}"), Api()):
            told = (await api.post(name="count", data=2, thread=asked_for)).told
            row = await ChatSession.objects.aget(pk=told["session"])
            assert told["reason"] == "unknown"
            assert str(row.thread_id) not in (thread, asked_for)
            assert user_count(row) == [2]


def user_count(row: ChatSession) -> Any:
    return json.loads(row.state)["count"]


# Attacks that other chats had to publish


async def test_a_session_is_not_restored_by_a_stranger_over_http(worker: Worker) -> None:
    """The token of somebody else's session, stolen, opens it for no other account."""
    ada = await member("ada")
    told = (await ada.post(name="count", data=1)).told
    stolen = {"session": told["session"], "token": told["token"]}
    for thief in (await member("eve"), Api()):
        response = await thief.post(name="count", data=2, **stolen)
        assert response.told["session"] != told["session"]
        assert response.told["reason"] == "unknown"
        got = await thief.client.get(URL, {"session": stolen["session"]})
        assert got.status_code == 404
    row = await ChatSession.objects.aget(pk=told["session"])
    assert row.accepted == 1


async def test_a_session_id_is_not_accepted_unchecked_over_http(worker: Worker) -> None:
    """Whatever a client calls its session, the server makes the ids of its own sessions."""
    for session_id in (str(uuid4()), "../../etc/passwd", "", "' OR 1=1 --", "\0"):
        response = await Api().post(name="count", data=1, session=session_id, token="x")
        assert response.told["reason"] == "unknown"
        assert response.told["session"] != session_id


async def test_no_path_or_url_is_taken_from_a_request(worker: Worker) -> None:
    """What a client calls files, threads and its kind is kept as text, or not at all."""
    evil = "file:///etc/passwd"
    api = Api()
    told = (await api.post(name="count", data=1, thread=evil, client_type=evil)).told
    for name in ("../../settings.py", evil, str(uuid4())):
        await refused(api, 403, "forbidden", content="look", files=[name])
    row = await ChatSession.objects.aget(pk=told["session"])
    assert await sync_to_async(row.files.count)() == 0
    assert not await SessionEvent.objects.filter(data__contains="root:").aexists()


async def test_a_role_is_not_read_once_over_http(worker: Worker, chat: Chat) -> None:
    """Each request sees its user as they are, and one who was deactivated is nobody."""
    api = await member("ada")
    told = (await api.post(name="count", data=1)).told
    await User.objects.aupdate(is_staff=True)
    seen: list[bool] = []

    @chat.on_event("admin?")
    async def look() -> None:
        seen.append(bool(getattr(next(iter(worker.live.values())).session.user, "is_staff", False)))

    await api.post(name="admin?")
    await User.objects.aupdate(is_staff=False)
    await api.post(name="admin?")
    assert seen == [True, False]
    await User.objects.aupdate(is_active=False)
    response = await api.post(name="admin?")
    assert response.told["reason"] == "unknown"
    assert response.told["session"] != told["session"]


# Too much at once


async def test_a_thousand_requests_at_once_are_each_handled_once_or_told_to_come_again(
    worker: Worker, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"EVENTS_PER_SECOND": 0.0001, "EVENT_BURST": 50}
    api = Api()
    await api.post(name="count", data=-1)
    answers = await asyncio.gather(*(api.post(name="count", data=n) for n in range(1000)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    taken = [n for n, code in enumerate(codes) if code == 200]
    assert 40 <= len(taken) <= 50
    refusal = answers[codes.index(429)]
    assert 0 < float(refusal.headers["Retry-After"]) <= 10_000
    row = await ChatSession.objects.aget()
    events = SessionEvent.objects.filter(session=row, name="count")
    assert sorted([event.data async for event in events]) == [-1, *taken]

"""``env``: the client's own keys are asked for, kept in memory, and found nowhere else."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client as Browser
from django.urls import reverse

from chatsessions import (
    Chat,
    ChatError,
    Message,
    context,
    session_context,
    signals,
    spawn,
    user_session,
)
from chatsessions.auth.env import HIDDEN, hide
from chatsessions.cluster.connect_request import ConnectRequest
from chatsessions.consumers import ChatConsumer
from chatsessions.exceptions import FrameError
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.testing import ChatCommunicator, ChatRefused
from chatsessions.workers.worker import get_worker

from .support.sessions import connected, make_session, until
from .support.storage import SpyCache

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "sk-the-clients-own-9f27c1"
OTHER = "sk-of-nobodys-business-77aa"
KEY = "MODEL_API_KEY"


def visit(chat: Chat, **options: Any) -> ChatCommunicator:
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", timeout=10, **options)


@pytest.fixture
def bot(chat: Chat) -> Chat:
    """Asks for a key, and tells how long it is."""
    chat.user_env = Chat("x", user_env=[KEY]).user_env

    @chat.on_message
    async def answer(message: Message) -> None:
        env = user_session.get("env")
        assert env is context.session.env
        user_session["notes"] = "kept " * 50
        await Message(f"{sorted(env)} {len(env.get(KEY, ''))}").send()

    return chat


async def refused(tab: ChatCommunicator) -> tuple[str, str, int | None]:
    with pytest.raises(ChatRefused) as caught:
        async with tab:
            pass
    return tab.errors[-1].code, tab.errors[-1].detail, caught.value.code


async def ask(tab: ChatCommunicator) -> str:
    await tab.send("which?")
    return (await tab.receive_message()).content


# What is asked for


@pytest.mark.parametrize("env", [None, {}, {"OTHER": OTHER}, {KEY: ""}, {KEY: " \n"}])
async def test_a_missing_key_is_named_and_nothing_is_made(
    bot: Chat, env: dict[str, str] | None
) -> None:
    assert await refused(visit(bot, env=env)) == ("missing_env", KEY, 4502)
    assert await ChatSession.objects.acount() == 0


async def test_all_missing_keys_are_named_in_the_order_of_the_chat(chat: Chat) -> None:
    chat.user_env = Chat("x", user_env=["B", "A", "C", "B"]).user_env
    assert await refused(visit(chat, env={"A": "1"})) == ("missing_env", "B, C", 4502)


async def test_a_return_without_the_key_takes_nothing_over(bot: Chat) -> None:
    async with visit(bot, env={KEY: SECRET}) as tab:
        again = visit(bot, session=tab.session_id, token=tab.token)
        assert (await refused(again))[0] == "missing_env"
        assert await ask(tab) == f"['{KEY}'] {len(SECRET)}"


async def test_only_the_keys_of_the_chat_are_kept(bot: Chat) -> None:
    async with visit(bot, env={KEY: SECRET, "OTHER": OTHER}) as tab:
        assert await ask(tab) == f"['{KEY}'] {len(SECRET)}"


async def test_a_chat_that_asks_for_none_keeps_what_comes(chat: Chat) -> None:
    @chat.on_message
    async def answer(_: Message) -> None:
        await Message(str(sorted(user_session["env"].items()))).send()

    async with visit(chat, env={"a": "1", "b": ""}) as tab:
        assert await ask(tab) == "[('a', '1'), ('b', '')]"


async def test_it_comes_again_with_every_hello(bot: Chat) -> None:
    async with visit(bot, env={KEY: SECRET}) as tab:
        pass
    await until(lambda: tab.session_id not in _live())
    async with session_context(tab.session_id) as found:
        assert found.session.env == {}  # nobody has brought it: it is nowhere else
    returned = {"session": tab.session_id, "token": tab.token}
    async with visit(bot, env={KEY: SECRET + "!"}, **returned) as tab:
        assert tab.resumed
        assert await ask(tab) == f"['{KEY}'] {len(SECRET) + 1}"


def _live() -> Any:
    return get_worker().live


async def test_a_stranger_does_not_hear_which_keys_there_are(bot: Chat) -> None:
    application = ChatConsumer.as_asgi(chat=bot, login_required=True)
    assert (await refused(ChatCommunicator(application, "/")))[0] == "unauthorized"


@pytest.mark.parametrize(
    "names", ["OPENAI_API_KEY", b"A", 5, [""], ["A B"], ["A,B"], ["A\n"], [5], ["A" * 101], [None]]
)
def test_names_that_are_none_are_refused_when_they_are_written(names: Any) -> None:
    with pytest.raises(ChatError, match="user_env"):
        Chat("x", user_env=names)


def test_no_names_are_asked_for_with_an_empty_list() -> None:
    assert Chat("x", user_env=[]).user_env == ()
    assert Chat("x").user_env is None


# Too much, and not at all


@pytest.mark.parametrize(
    ("env", "detail"),
    [
        ({f"key {number}": "x" for number in range(51)}, "env has at most 50 keys"),
        ({KEY: "x" * 17_000}, "env has at most 16384 bytes"),
        ({KEY: "é" * 8_200}, "env has at most 16384 bytes"),
        ({"x" * 17_000: "x"}, "env has at most 16384 bytes"),
    ],
)
async def test_too_much_is_refused_with_a_reason(
    bot: Chat, env: dict[str, str], detail: str
) -> None:
    assert (await refused(visit(bot, env=env)))[:2] == ("bad_frame", detail)
    assert await ChatSession.objects.acount() == 0


async def test_ten_megabytes_are_a_frame_too_large(bot: Chat) -> None:
    assert (await refused(visit(bot, env={KEY: "x" * 10_000_000})))[0] == "too_large"


async def test_the_limits_are_settings(bot: Chat, settings: Settings) -> None:
    settings.CHATSESSIONS = {"MAX_ENV_KEYS": 1, "MAX_ENV_BYTES": 10}
    assert (await refused(visit(bot, env={"a": "1", "b": "2"})))[1] == "env has at most 1 keys"


@pytest.mark.parametrize(
    "env", [[SECRET], {KEY: 5, "b": SECRET}, {KEY: {"a": SECRET}}, SECRET, {SECRET: None}, 7]
)
def test_what_is_no_env_is_a_bad_frame_that_quotes_nothing(env: Any) -> None:
    text = msgspec.json.encode({"type": "hello", "env": env}).decode()
    with pytest.raises(FrameError) as caught:
        frames.decode(text)
    assert caught.value.code == "bad_frame"
    assert SECRET not in caught.value.detail + str(caught.value.__cause__)


def test_a_damaged_hello_quotes_nothing() -> None:
    for cut in range(1, 60):
        text = msgspec.json.encode({"type": "hello", "env": {KEY: SECRET}}).decode()[:-cut]
        with pytest.raises(FrameError) as caught:
            frames.decode(text)
        assert SECRET not in str(caught.value) + str(caught.value.__cause__)


# Hidden


def test_no_repr_shows_it() -> None:
    user = User(username="ada")
    hello = frames.Hello(env={KEY: SECRET}, token=OTHER)
    arrival = ConnectRequest(user=user, env={KEY: SECRET}, token=OTHER)
    session = make_session(env={KEY: SECRET})
    welcome = frames.Welcome(
        session="s",
        token=OTHER,
        resumed=False,
        reason=None,
        received=0,
        first=1,
        head=0,
        turn=None,
        heartbeat=1,
        max_frame=1,
    )
    for one in (hello, arrival, session, welcome):
        shown = f"{one} {one!r} {[one]} {getattr(one, '__rich_repr__', str)()}"
        assert SECRET not in shown
        assert OTHER not in shown


def test_a_value_is_hidden_wherever_it_stands() -> None:
    env = {
        "A": SECRET,
        "B": SECRET[:10],
        "C": "on",
        "D": "",
        "E": " padded value \n",
        "F": "a'b\"c\\d",
    }
    text = f"Incorrect key {SECRET!r}: on {SECRET[:10]}? 'padded value' {env['F']!r}"
    assert hide(text, env) == (f"Incorrect key '{HIDDEN}': on {HIDDEN}? '{HIDDEN}' '{HIDDEN}'")
    assert hide(text, {}) == text


class Api:
    """Its errors quote the key, as those of real ones do."""

    def __init__(self, key: str) -> None:
        self.key = key

    def call(self) -> None:
        try:
            raise ValueError(f"Incorrect API key provided: {self.key}.")
        except ValueError as error:
            raise RuntimeError("the model refuses", self.key) from error


async def test_a_secret_is_nowhere_after_a_whole_story(
    bot: Chat,
    cache: type[SpyCache],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """A conversation with everything that can go wrong, and then everything that was kept."""
    settings.DEBUG = True
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    told: list[str] = []

    @bot.on_event("fail")
    async def fail(_: Any) -> None:
        Api(context.session.env[KEY]).call()

    @bot.on_event("fail_sync")
    def fail_sync(_: Any) -> None:
        Api(user_session["env"][KEY]).call()

    @bot.on_event("exit")
    async def leave(_: Any) -> None:
        raise SystemExit(user_session["env"][KEY])

    @bot.on_event("spawn")
    async def spawned(_: Any) -> None:
        async def later() -> None:
            Api(user_session["env"][KEY]).call()

        spawn(later())

    @bot.on_event("show")
    async def show(_: Any) -> None:
        known = (
            context,
            user_session,
            context.session,
            context.chat,
            context.turn,
            context.emitter,
        )
        told.extend(f"{one} {one!r}" for one in known)
        told.append(str(dict(user_session)))
        logging.getLogger("bot").info("%s %r", context.session, context.session)

    @bot.on_disconnect
    async def gone() -> None:
        Api(user_session["env"][KEY]).call()

    @bot.on_chat_end
    def ended() -> None:
        Api(user_session["env"][KEY]).call()

    async def receive(**arguments: Any) -> None:
        told.append(f"{arguments} {arguments!r}")

    ada = await User.objects.acreate_superuser("ada", password="pass")
    seen: list[Any] = []
    with ExitStack() as stack:
        for name, value in vars(signals).items():
            if name.startswith(("session", "turn")):
                stack.enter_context(connected(value, receive))
        async with visit(bot, env={KEY: SECRET, "OTHER": OTHER}, user=ada) as tab:
            assert await ask(tab) == f"['{KEY}'] {len(SECRET)}"
            outcomes = []
            for name in ("fail", "fail_sync", "exit", "spawn", "show", "nobody", "settings"):
                await tab.send_event(name, {})
                outcomes.append(await tab.wait_for_turn())
            assert outcomes == [*["failed"] * 3, "done", "done", "failed", "done"]
            await tab.resume()
            seen += [tab.events, tab.errors]
            browser = Browser()
            await sync_to_async(browser.force_login)(ada)
            pages = [await sync_to_async(_pages)(browser, tab.session_id)]
            await tab.end()
        pages.append(await sync_to_async(_pages)(browser, tab.session_id))
    dump = tmp_path / "dump.json"
    await sync_to_async(call_command)("dumpdata", output=str(dump), verbosity=0)
    stored = dump.read_text()
    everything = {
        "the database": stored,
        "the cache": repr(cache.calls),
        "the log": caplog.text + repr([vars(record) for record in caplog.records]),
        "the client": repr(seen),
        "the admin": "".join(pages),
        "reprs and signals": "".join(told),
    }
    for where, text in everything.items():
        assert len(text) > 100, where
        assert SECRET not in text, f"{where}: …{text[text.index(SECRET) - 200 :][:300]}"
        assert OTHER not in text, where
    # It was not silence: the failures are there, without the secret.
    assert f"Incorrect API key provided: {HIDDEN}." in everything["the log"]
    assert HIDDEN in everything["the client"]
    assert HIDDEN in stored
    assert str(tab.session_id) in everything["the admin"]


def _pages(browser: Browser, session_id: Any) -> str:
    addresses = [
        reverse("admin:chatsessions_chatsession_changelist"),
        reverse("admin:chatsessions_chatsession_change", args=[session_id]),
        reverse("admin:chatsessions_chatsession_history", args=[session_id]),
    ]
    responses = [browser.get(address) for address in addresses]
    assert {response.status_code for response in responses} == {200}
    return "".join(response.text for response in responses)


async def test_a_failure_without_the_secret_is_logged_as_ever(
    bot: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """With the exception itself, which other handlers of logs want to have."""

    @bot.on_event("fail")
    async def fail(_: Any) -> None:
        raise ValueError("on purpose")

    async with visit(bot, env={KEY: SECRET}) as tab:
        await tab.send_event("fail")
        assert await tab.wait_for_turn() == "failed"
    [record] = [one for one in caplog.records if "handler of fail failed" in one.getMessage()]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)

"""Whose is what a tab remembers: ``owner`` in ``welcome``, in ``hello`` and on the page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from django.contrib.auth.models import AnonymousUser, User
from django.template import Context, Template
from django.test import RequestFactory, override_settings
from django.utils.functional import SimpleLazyObject

from chatsessions import Chat, Message, context, user_session
from chatsessions.consumers import ChatConsumer
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.protocol import frames
from chatsessions.testing import ChatCommunicator, ChatRefused

from .support.communicator import Communicator
from .support.sessions import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


@pytest.fixture
async def ada() -> User:
    return await User.objects.acreate_user("ada", password="first")


@pytest.fixture
async def eve() -> User:
    return await User.objects.acreate_user("eve", password="second")


@pytest.fixture(autouse=True)
def bot(chat: Chat) -> Chat:
    @chat.on_message
    async def answer(message: Message) -> None:
        session = context.session
        await Message(f"{session.profile} {dict(user_session.get('env'))}").send()

    return chat


def consumer(chat: Chat, **options: Any) -> Any:
    return AuthMiddlewareStack(ChatConsumer.as_asgi(chat=chat, **options))


async def greeted(chat: Chat, user: User | None = None, **hello: Any) -> dict[str, Any]:
    """What the server answers to a ``hello`` of ``user``: a welcome or an error."""
    tab = Communicator(ChatConsumer.as_asgi(chat=chat), "/ws/", subprotocols=["chatsessions.v1"])
    tab.scope["user"] = user or AnonymousUser()
    await tab.connect()
    await tab.send_to(text_data=json.dumps({"type": "hello", **hello}))
    answer: dict[str, Any] = json.loads(await tab.receive_from())
    await tab.disconnect()
    return answer


async def test_a_welcome_says_whose_it_is(chat: Chat, ada: User, eve: User) -> None:
    """The same at each login, another for another user, no name or number, empty without one."""
    owner = (await greeted(chat, ada))["owner"]
    assert len(owner) == 32
    assert owner == (await greeted(chat, ada))["owner"]
    assert (await greeted(chat, eve))["owner"] not in (owner, "")
    assert (await greeted(chat))["owner"] == ""
    with override_settings(SECRET_KEY="another"):
        assert (await greeted(chat, ada))["owner"] != owner


def on_the_page(user: Any = None) -> str:
    request = RequestFactory().get("/")
    if user is not None:
        request.user = user
    values = Context({"request": request})
    return Template('{% load chatsessions %}{% chat_session "/ws/" %}').render(values)


async def test_the_tag_says_the_same_as_the_welcome(chat: Chat, ada: User) -> None:
    """So a page knows whose tab it is before it says hello; it says nothing if it cannot know."""
    owner = (await greeted(chat, ada))["owner"]
    assert f' owner="{owner}"' in on_the_page(ada)
    assert f' owner="{owner}"' in on_the_page(SimpleLazyObject(lambda: ada))
    assert ' owner=""' in on_the_page(AnonymousUser())
    assert "owner" not in on_the_page()


async def test_the_tag_in_an_async_view(ada: User) -> None:
    """A user that nobody has looked at yet cannot be looked up there: the page goes without."""
    user = SimpleLazyObject(lambda: User.objects.get(pk=ada.pk))
    assert "owner" not in on_the_page(user)


async def test_keys_and_wishes_of_another_user_are_not_used(
    chat: Chat, ada: User, eve: User
) -> None:
    """A page that was loaded before another user logged in brings theirs; nobody has them."""
    mine = (await greeted(chat, ada))["owner"]
    brought = {"env": {"MODEL_API_KEY": "sk-ada"}, "profile": "Ada's"}
    stale = await greeted(chat, eve, owner=mine, **brought)
    own = await greeted(chat, ada, owner=mine, **brought)
    assert stale["owner"] != mine
    assert own["owner"] == mine
    rows = {row.pk: row.profile async for row in ChatSession.objects.all()}
    assert {
        str(pk): profile
        for pk, profile in rows.items()
        if str(pk) in (stale["session"], own["session"])
    } == {stale["session"]: "", own["session"]: "Ada's"}


async def test_keys_of_another_user_let_nobody_in(ada: User, eve: User) -> None:
    """They are missing then, and the page is told for whom they are to be asked."""
    chat = Chat("owner-keys", user_env=["MODEL_API_KEY"])
    env = {"MODEL_API_KEY": "sk-ada"}
    mine = (await greeted(chat, ada, env=env))["owner"]
    refused = await greeted(chat, eve, owner=mine, env=env)
    assert (refused["type"], refused["code"]) == ("error", "missing_env")
    assert refused["owner"] not in ("", mine)
    assert "owner" not in await greeted(chat, eve, owner=refused["owner"])


async def test_the_next_user_of_a_tab_sends_nothing_of_the_last_one_s(
    chat: Chat, ada: User, eve: User
) -> None:
    """The testing client keeps to it as the page does, for a test of one's own logout."""
    chat_of = consumer(chat)
    async with ChatCommunicator(
        chat_of, "/ws/", user=ada, env={"MODEL_API_KEY": "sk-ada"}, profile="Ada's"
    ) as tab:
        await tab.send("hello")
        await tab.wait_for_turn()
        await tab.drop()
        await tab.send("my PIN is 1234")
        await tab.log_in(eve)
        assert not await tab.resume()
        await tab.send("hello")
        assert (await tab.receive_message()).content == " {}"
        session = tab.session_id
    said = [
        json.loads(event.data) if isinstance(event.data, str) else event.data
        async for event in SessionEvent.objects.filter(session=session, n__isnull=False)
    ]
    assert [data["content"] for data in said] == ["hello"]


async def test_who_logs_in_again_goes_on(chat: Chat, ada: User) -> None:
    """A lost login costs nothing that was written: the same person sends it after the next one."""
    members = consumer(chat, login_required=True)
    async with ChatCommunicator(members, "/ws/", user=ada) as tab:
        await tab.send("hello")
        await tab.wait_for_turn()
        await tab.drop()
        n = await tab.send("half a thought")
        await tab.log_in(None)
        with pytest.raises(ChatRefused):
            await tab.resume()
        await tab.log_in(ada)
        assert await tab.resume()
        assert await tab.wait_for_turn(n) == "done"


async def test_a_conversation_that_was_assigned_goes_on(chat: Chat, ada: User) -> None:
    """What an anonymous visitor wrote is theirs after the login, if the conversation is."""
    async with ChatCommunicator(consumer(chat), "/ws/") as tab:
        await tab.send("hello")
        await tab.wait_for_turn()
        session = tab.session_id
        await tab.drop()
        n = await tab.send("after all")
        await released(session)
        await ChatSession.objects.filter(pk=session).aupdate(user=ada)
        await tab.log_in(ada)
        assert await tab.resume()
        assert tab.session_id == session
        assert await tab.wait_for_turn(n) == "done"


async def released(session: Any) -> None:
    """Wait until no worker holds the session."""

    async def free() -> bool:
        row = await ChatSession.objects.aget(pk=session)
        return row.worker_id is None

    await eventually(free)


async def test_no_frame_needs_an_owner() -> None:
    """An old client names none, and an old server sends none."""
    hello = frames.decode('{"type": "hello"}')
    assert isinstance(hello, frames.Hello)
    assert hello.owner is None

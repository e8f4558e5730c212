"""Login, permissions and ``authorize()``: who gets a session, and who keeps it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack, logout
from django.contrib.auth import user_logged_out
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session as DjangoSession
from django.db import connections, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.test import AsyncClient
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from chatsessions import Chat, ChatError, Message, context, session_context, user_session
from chatsessions.auth.access import Access
from chatsessions.auth.logins import Login, look_again
from chatsessions.consumers import ChatConsumer, SessionConsumer
from chatsessions.exceptions import AccessRefused
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.testing import ChatCommunicator, ChatRefused, shut_down_worker
from chatsessions.testing.transport import login_cookie
from chatsessions.workers.worker import Worker, get_worker

from .support.communicator import Communicator
from .support.sessions import eventually, until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

PERMISSION = "chatsessions.view_chatsession"
NEVER = 3600.0


@pytest.fixture
async def ada() -> User:
    return await User.objects.acreate_user("ada", password="first")


@pytest.fixture
async def eve() -> User:
    return await User.objects.acreate_user("eve", password="second")


@pytest.fixture
def soon(settings: Settings) -> None:
    """Logins are looked at again so often that a test sees it."""
    settings.CHATSESSIONS = {"REVALIDATE_SECONDS": 0.05}


@pytest.fixture(autouse=True)
def bot(chat: Chat) -> Chat:
    @chat.on_message
    async def answer(message: Message) -> None:
        await Message(f"{context.session.user.get_username()}: {message.content}").send()

    @chat.on_event("admin?")
    async def is_staff(_: Any) -> None:
        await context.emitter.emit("staff", context.session.user.is_staff)  # type: ignore[union-attr]

    return chat


def visit(chat: Chat, consumer: type[ChatConsumer] = ChatConsumer, **options: Any) -> Any:
    """A tab whose login is a real one: a cookie, and a Django session in the database."""
    rules = {
        key: options.pop(key) for key in ("login_required", "permission_required") if key in options
    }
    application = AuthMiddlewareStack(consumer.as_asgi(chat=chat, **rules))
    return ChatCommunicator(application, "/", timeout=10, **options)


async def refused(tab: ChatCommunicator) -> tuple[str, int | None]:
    """With which error and which code the server closed instead of welcoming."""
    with pytest.raises(ChatRefused) as caught:
        async with tab:
            pass
    return tab.errors[-1].code, caught.value.code


async def closed(tab: ChatCommunicator) -> tuple[str, str, int | None]:
    """Wait for the line to be closed: by which error, why, and with which code."""
    await until(lambda: not tab.connected)
    return tab.errors[-1].code, tab.errors[-1].detail, tab.close_code


async def grant(user: User, permission: str = PERMISSION) -> None:
    codename = permission.partition(".")[2]
    await user.user_permissions.aadd(await Permission.objects.aget(codename=codename))


async def rows() -> int:
    return await ChatSession.objects.acount()


# Coming in


async def test_a_stranger_gets_nothing_where_a_login_is_required(chat: Chat) -> None:
    assert await refused(visit(chat, login_required=True)) == ("unauthorized", 4502)
    assert await rows() == 0


async def test_without_the_middleware_nobody_is_logged_in(chat: Chat) -> None:
    application = ChatConsumer.as_asgi(chat=chat, login_required=True)
    assert await refused(ChatCommunicator(application, "/")) == ("unauthorized", 4502)


async def test_a_logged_in_user_comes_in(chat: Chat, ada: User) -> None:
    async with visit(chat, login_required=True, user=ada) as tab:
        await tab.send("hello")
        assert (await tab.receive_message()).content == "ada: hello"


async def test_a_permission_is_asked_of_the_user(chat: Chat, ada: User, eve: User) -> None:
    await grant(ada)
    rule = {"permission_required": PERMISSION}
    assert await refused(visit(chat, **rule)) == ("unauthorized", 4502)
    assert await refused(visit(chat, **rule, user=eve)) == ("forbidden", 4502)
    assert await rows() == 0
    async with visit(chat, **rule, user=ada) as tab:
        assert tab.reason == "new"


async def test_of_several_permissions_all_are_needed(chat: Chat, ada: User) -> None:
    await grant(ada)
    rule = {"permission_required": [PERMISSION, "chatsessions.end_chatsession"]}
    assert await refused(visit(chat, **rule, user=ada)) == ("forbidden", 4502)
    await grant(ada, "chatsessions.end_chatsession")
    async with visit(chat, **rule, user=await User.objects.aget(pk=ada.pk)):
        pass


@pytest.mark.parametrize(
    "rule",
    [
        {"login_required": "yes"},
        {"login_required": None},
        {"permission_required": 5},
        {"permission_required": ["a.b", ""]},
        {"permission_required": b"a.b"},
        {"permission_required": [None]},
    ],
)
def test_a_rule_that_is_none_is_refused_when_it_is_written(
    chat: Chat, rule: dict[str, Any]
) -> None:
    with pytest.raises(ChatError, match="_required="):
        ChatConsumer.as_asgi(chat=chat, **rule)


def test_rules_may_be_attributes_of_a_class(chat: Chat) -> None:
    class Staff(ChatConsumer):
        login_required = True
        permission_required = ("a.b",)

    Staff.as_asgi(chat=chat)
    Staff.as_asgi(chat=chat, login_required=False, permission_required=iter(["c.d"]))
    assert chat.access_rules == {
        Access(login_required=True, permissions=("a.b",)),
        Access(permissions=("c.d",)),
    }


def test_an_iterator_of_permissions_is_not_used_up(chat: Chat) -> None:
    application = ChatConsumer.as_asgi(chat=chat, permission_required=iter(["c.d"]))
    made = [ChatConsumer(**application.consumer_initkwargs) for _ in range(2)]
    assert [one._access.permissions for one in made] == [("c.d",), ("c.d",)]


def test_a_user_model_without_permissions_has_none() -> None:
    class Bare:
        is_authenticated = True

    with pytest.raises(AccessRefused, match="forbidden"):
        Access(permissions=("a.b",)).check(Bare())  # type: ignore[arg-type]


async def test_a_failing_backend_lets_nobody_in(
    chat: Chat, ada: User, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        f"{__name__}.{Broken.__name__}",
    ]
    assert await refused(visit(chat, permission_required=PERMISSION, user=ada)) == (
        "forbidden",
        4502,
    )
    assert "broken on purpose" in caplog.text


class Broken(ModelBackend):
    def has_perm(self, *_: Any, **__: Any) -> bool:
        raise ValueError("broken on purpose")


async def test_a_backend_that_takes_its_time_keeps_nobody_else_waiting(
    chat: Chat, ada: User, settings: Settings
) -> None:
    """It has threads of its own: the store is read meanwhile."""
    open_chat = Chat(f"tests.{uuid4().hex}")
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        f"{__name__}.{Slow.__name__}",
    ]
    Slow.entered.clear()
    Slow.go.clear()
    async with visit(open_chat) as tab:
        session, token = tab.session_id, tab.token
    waiting = [
        asyncio.create_task(refused(visit(chat, permission_required=PERMISSION, user=ada)))
        for _ in range(3)
    ]
    try:
        await until(Slow.entered.is_set)
        async with asyncio.timeout(10), visit(open_chat, session=session, token=token) as again:
            assert again.session_id == session
        assert not any(task.done() for task in waiting)
    finally:
        Slow.go.set()
    assert await asyncio.gather(*waiting) == [("forbidden", 4502)] * 3


class Slow(ModelBackend):
    """Answers when it is told to."""

    entered = threading.Event()
    go = threading.Event()

    def has_perm(self, *_: Any, **__: Any) -> bool:
        self.entered.set()
        self.go.wait(30)
        return False


# authorize()


class Door(ChatConsumer):
    """Asks a function of the test's."""

    asked: list[tuple[dict[str, Any], Session]]
    decide: Callable[[dict[str, Any], Session], Awaitable[bool]]

    async def authorize(self, scope: dict[str, Any], session: Session) -> bool:
        type(self).asked.append((scope, session))
        return await type(self).decide(scope, session)


def door(decide: Callable[[dict[str, Any], Session], Awaitable[Any]]) -> type[Door]:
    return type("Door", (Door,), {"asked": [], "decide": staticmethod(decide)})


async def test_authorize_is_asked_about_the_session_before_it_is_made(chat: Chat) -> None:
    seen = []

    async def decide(scope: dict[str, Any], session: Session) -> bool:
        seen.append((scope["path"], session.language, session.profile, await rows()))
        return session.language != "xx"

    consumer = door(decide)
    assert await refused(visit(chat, consumer, language="xx")) == ("forbidden", 4502)
    assert await rows() == 0
    async with visit(chat, consumer, language="de", profile="any") as tab:
        assert consumer.asked[-1][1].id == tab.session_id
    assert seen == [("/", "xx", "", 0), ("/", "de", "any", 0)]


async def test_authorize_may_refuse_one_session_and_not_another(chat: Chat) -> None:
    """A refused connection takes over nothing: the one that is there goes on."""
    closed_ones: set[Any] = set()

    async def decide(scope: dict[str, Any], session: Session) -> bool:
        return session.id not in closed_ones

    consumer = door(decide)
    async with visit(chat, consumer) as tab:
        closed_ones.add(tab.session_id)
        again = visit(chat, consumer, session=tab.session_id, token=tab.token)
        assert await refused(again) == ("forbidden", 4502)
        assert tab.connected
        await tab.send("still here")
        assert await tab.wait_for_turn() == "done"
    assert await rows() == 1


async def test_a_refused_return_leaves_the_row_as_it_was(chat: Chat) -> None:
    async def decide(scope: dict[str, Any], session: Session) -> bool:
        return allowed

    allowed = True
    consumer = door(decide)
    async with visit(chat, consumer) as tab:
        pass
    before = await ChatSession.objects.filter(pk=tab.session_id).values().aget()
    allowed = False
    again = visit(chat, consumer, session=tab.session_id, token=tab.token)
    assert await refused(again) == ("forbidden", 4502)
    assert await ChatSession.objects.filter(pk=tab.session_id).values().aget() == before
    allowed = True
    async with visit(chat, consumer, session=tab.session_id, token=tab.token) as tab:
        assert tab.resumed


async def test_an_authorize_that_fails_or_forgets_to_answer_lets_nobody_in(
    chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(scope: dict[str, Any], session: Session) -> bool:
        raise ValueError("on purpose")

    async def forget(scope: dict[str, Any], session: Session) -> None:
        return None

    assert await refused(visit(chat, door(forget))) == ("forbidden", 4502)
    assert "authorize() failed" not in caplog.text
    assert await refused(visit(chat, door(fail))) == ("forbidden", 4502)
    assert "authorize() failed" in caplog.text
    assert "ValueError: on purpose" in caplog.text


def test_an_authorize_that_is_not_async_is_found_at_once(chat: Chat) -> None:
    class Wrong(ChatConsumer):
        def authorize(self, scope: Any, session: Any) -> bool:  # type: ignore[override]
            return True

    with pytest.raises(ChatError, match="has to be 'async def'"):
        Wrong.as_asgi(chat=chat)


async def test_authorize_is_not_asked_about_what_is_not_theirs(
    chat: Chat, ada: User, eve: User
) -> None:
    """It cannot open a stranger's session by mistake: it is asked about a new one."""

    async def decide(scope: dict[str, Any], session: Session) -> bool:
        return True

    consumer = door(decide)
    async with visit(chat, consumer, user=ada) as tab:
        async with visit(chat, consumer, user=eve, session=tab.session_id, token=tab.token) as her:
            assert (her.resumed, her.reason) == (False, "unknown")
        assert [session.user.pk for _, session in consumer.asked] == [ada.pk, eve.pk]
        assert consumer.asked[1][1].id != tab.session_id
        assert tab.connected


# Attacks that other chats had to publish


async def test_a_session_is_not_restored_by_a_stranger(chat: Chat, ada: User, eve: User) -> None:
    """The token of somebody else's session, stolen, opens it for no other account."""
    async with visit(chat, user=ada, login_required=True) as tab:
        await tab.send("mine")
        await tab.wait_for_turn()
        stolen = {"session": tab.session_id, "token": tab.token}
        for thief in (eve, None):
            async with visit(chat, user=thief, **stolen) as other:
                assert other.session_id != tab.session_id
                assert (other.reason, other.events) == ("unknown", [])
        assert tab.connected


async def test_a_session_id_is_not_accepted_unchecked(chat: Chat, ada: User) -> None:
    """Whatever a client calls its session, the server makes the ids of its own sessions."""
    ids = [str(uuid4()), "../../etc/passwd", "0" * 100, "", "' OR 1=1 --", str(uuid4()).upper()]
    for session_id in ids:
        async with visit(chat, user=ada, session=session_id, token="x") as tab:
            assert (tab.resumed, tab.reason) == (False, "unknown")
            assert str(tab.session_id) != session_id.lower()


async def test_no_path_or_url_is_taken_from_a_frame(chat: Chat) -> None:
    """What a client calls files, threads and profiles is kept as text, or not at all."""
    evil = "file:///etc/passwd"
    async with visit(chat, profile=evil, thread=evil, client_type=evil) as tab:
        await tab.send("hello", files=["../../settings.py", evil])
        await tab.wait_until(lambda: tab.errors)
        assert [error.code for error in tab.errors] == ["forbidden"]
        row = await ChatSession.objects.aget(pk=tab.session_id)
        assert str(row.thread_id) != evil
        assert await sync_to_async(lambda: row.files.count())() == 0
        assert "root:" not in str(tab.events)


async def test_a_role_is_not_read_once_at_connect(chat: Chat, ada: User, soon: None) -> None:
    """Handlers see the user as they are now, and whoever is no admin any more is none."""
    await User.objects.filter(pk=ada.pk).aupdate(is_staff=True)
    async with visit(chat, user=await User.objects.aget(pk=ada.pk)) as tab:
        await tab.send_event("admin?")
        assert (await tab.receive_event("staff")).data is True
        await User.objects.filter(pk=ada.pk).aupdate(is_staff=False)
        live = get_worker().live[tab.session_id]
        await until(lambda: live.session.user.is_staff is False)  # type: ignore[union-attr]
        await tab.send_event("admin?")
        assert (await tab.receive_event("staff")).data is False
        assert tab.connected


async def test_a_deactivated_user_does_not_keep_an_open_socket(
    chat: Chat, ada: User, soon: None
) -> None:
    async with visit(chat, user=ada) as tab:
        # Without a signal, as an UPDATE in another process.
        await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
        assert await closed(tab) == ("unauthorized", "The account is not active any more.", 4502)
        row = await ChatSession.objects.aget(pk=tab.session_id)
        await eventually(lambda: _is_away(row.pk))
        assert row.end_reason == ""


async def _is_away(pk: Any) -> bool:
    return (await ChatSession.objects.aget(pk=pk)).status == "away"


# Losing a login


@pytest.fixture
def never(settings: Settings) -> None:
    """No test waits for the interval: what happens, happens at once."""
    settings.CHATSESSIONS = {"REVALIDATE_SECONDS": NEVER}


async def deactivate(user: User) -> None:
    user.is_active = False
    await user.asave()


async def change_password(user: User) -> None:
    user.set_password("another")
    await user.asave()


async def delete(user: User) -> None:
    await sync_to_async(user.delete)()


async def take_permission(user: User) -> None:
    await user.user_permissions.aclear()


LOSSES = {
    "The account is not active any more.": deactivate,
    "The password was changed.": change_password,
    "A permission was taken away.": take_permission,
}


@pytest.mark.parametrize("detail", LOSSES)
@pytest.mark.usefixtures("never")
async def test_a_lost_login_closes_the_line_at_once(chat: Chat, ada: User, detail: str) -> None:
    await grant(ada)
    async with (
        visit(chat, user=ada, permission_required=PERMISSION) as tab,
        visit(chat) as stranger,
    ):
        await tab.send("one")
        await tab.wait_for_turn()
        await LOSSES[detail](await User.objects.aget(pk=ada.pk))
        assert await closed(tab) == ("unauthorized", detail, 4502)
        await eventually(lambda: _is_away(tab.session_id))
        assert stranger.connected


@pytest.mark.usefixtures("never")
async def test_a_deleted_user_loses_the_line(chat: Chat, ada: User) -> None:
    async with visit(chat, user=ada) as tab:
        await delete(ada)
        await until(lambda: not tab.connected)
        assert tab.close_code in (4502, 4503)


@pytest.mark.usefixtures("never")
async def test_a_permission_of_a_group_is_lost_with_the_group(chat: Chat, ada: User) -> None:
    group = await Group.objects.acreate(name="readers")
    await group.permissions.aadd(await Permission.objects.aget(codename="view_chatsession"))
    await ada.groups.aadd(group)
    async with visit(chat, user=ada, permission_required=PERMISSION) as tab:
        await ada.groups.aremove(group)
        assert (await closed(tab))[1] == "A permission was taken away."


@pytest.mark.usefixtures("never")
async def test_a_change_that_is_rolled_back_closes_nothing(chat: Chat, ada: User) -> None:
    def half() -> None:
        with transaction.atomic():
            ada.is_active = False
            ada.save()
            transaction.set_rollback(True)

    async with visit(chat, user=ada) as tab:
        await sync_to_async(half)()
        await tab.send("still here")
        assert await tab.wait_for_turn() == "done"


@pytest.mark.usefixtures("never")
async def test_a_user_who_is_saved_as_they_were_stays(chat: Chat, ada: User) -> None:
    async with visit(chat, user=ada) as tab:
        ada.first_name = "Ada"
        await ada.asave()
        live = get_worker().live[tab.session_id]
        await until(lambda: live.session.user.first_name == "Ada")  # type: ignore[union-attr]
        assert tab.connected


async def log_out(tab: ChatCommunicator) -> None:
    """Log the very login of ``tab`` out, by a view."""
    client = Browser()
    [(_, cookie)] = tab._login
    name, _, value = cookie.decode().partition("=")
    client.cookies[name] = value
    await sync_to_async(client.logout)()


@pytest.mark.usefixtures("never")
async def test_a_logout_closes_the_lines_of_that_login_and_no_other(chat: Chat, ada: User) -> None:
    async with visit(chat, user=ada) as tab, visit(chat, user=ada) as phone:
        await log_out(tab)
        assert await closed(tab) == ("unauthorized", "You were logged out.", 4502)
        await phone.send("another device")
        assert await phone.wait_for_turn() == "done"


@pytest.mark.usefixtures("never")
async def test_a_logout_closes_a_line_that_has_no_django_session(chat: Chat, ada: User) -> None:
    application = ChatConsumer.as_asgi(chat=chat)
    async with ChatCommunicator(application, "/", user=ada) as tab, visit(chat, user=ada) as other:
        await log_out(other)
        assert (await closed(tab))[1] == "You were logged out."


async def test_a_logout_by_channels_is_noticed_soon(
    chat: Chat, ada: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signal does not say whose login it was, and comes before the end of the session."""
    settings.CHATSESSIONS = {"REVALIDATE_SECONDS": NEVER}
    monkeypatch.setattr("chatsessions.auth.logins.LOGOUT_TAKES", 3)
    async with visit(chat, user=ada) as tab, visit(chat, user=ada) as phone:
        cookie = str(tab._login)
        [login] = [one for one in get_worker().logins._logins if str(one.session_key) in cookie]
        assert login.store is not None
        await logout({"user": ada, "session": login.store(login.session_key)})
        assert (await closed(tab))[1] == "You were logged out."
        assert phone.connected


async def test_a_logout_elsewhere_is_noticed_with_the_interval(
    chat: Chat, ada: User, soon: None
) -> None:
    async with visit(chat, user=ada) as tab:
        await DjangoSession.objects.all().adelete()  # no signal comes here
        assert await closed(tab) == ("unauthorized", "You were logged out.", 4502)


@pytest.mark.parametrize(
    "engine",
    [
        "django.contrib.sessions.backends.cache",
        "django.contrib.sessions.backends.cached_db",
        "django.contrib.sessions.backends.signed_cookies",
        "django.contrib.sessions.backends.file",
    ],
)
async def test_logins_are_kept_in_other_places(
    chat: Chat, ada: User, settings: Settings, engine: str, soon: None
) -> None:
    settings.SESSION_ENGINE = engine
    async with visit(chat, user=ada) as tab:
        await asyncio.sleep(0.3)
        assert tab.connected
        await log_out(tab)
        assert (await closed(tab))[1] == "You were logged out."


@pytest.mark.usefixtures("never")
async def test_a_frame_behind_the_loss_of_the_login_is_not_taken(chat: Chat, ada: User) -> None:
    async with visit(chat, user=ada) as tab:
        await tab.send("before")
        await tab.wait_for_turn()
        await log_out(tab)
        tab._put_frame(_event(2))
        await tab.flush()
        await closed(tab)
        events = ChatSession.objects.filter(pk=tab.session_id, events__n__gt=0)
        assert await events.acount() == 1


def _event(n: int) -> Any:
    return frames.ClientEvent(n, "message", msgspec.Raw(b'{"content": "after"}'))


@pytest.mark.usefixtures("never")
async def test_a_user_deactivated_in_mid_stream_sees_no_more_of_it(chat: Chat, ada: User) -> None:
    """The line closes; the turn is the session's, and goes on to its end."""
    go_on = asyncio.Event()

    @chat.on_event("story")
    async def story(_: Any) -> None:
        message = Message()
        await message.stream_token("Once upon ")
        await go_on.wait()
        await message.stream_token("a secret.")
        await message.send()
        user_session["told"] = True

    async with visit(chat, user=ada) as tab:
        await tab.send_event("story")
        await tab.wait_until(lambda: tab.messages and tab.messages[-1].content == "Once upon ")
        await deactivate(await User.objects.aget(pk=ada.pk))
        assert (await closed(tab))[0] == "unauthorized"
        go_on.set()
        assert await tab.wait_for_turn() == "done"
        assert tab.messages[-1].content == "Once upon "
    async with session_context(tab.session_id):
        assert user_session["told"] is True


async def test_a_lost_login_comes_back_as_somebody_else(chat: Chat, ada: User, soon: None) -> None:
    """The session is its owner's, and waits for them."""
    async with visit(chat, user=ada, login_required=True) as tab:
        await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
        await closed(tab)
        with pytest.raises(ChatRefused):
            await tab.resume()
        assert tab.errors[-1].code == "unauthorized"
        await User.objects.filter(pk=ada.pk).aupdate(is_active=True)
        assert await tab.resume()


async def test_a_login_lost_before_hello_gets_no_session(chat: Chat, ada: User) -> None:
    [cookie] = await login_cookie(ada)
    line = Communicator(AuthMiddlewareStack(ChatConsumer.as_asgi(chat=chat)), "/", headers=[cookie])
    try:
        await line.connect()
        client = AsyncClient()
        name, _, value = cookie[1].decode().partition("=")
        client.cookies[name] = value
        await client.alogout()
        assert (await line.receive_json_from())["code"] == "unauthorized"
        assert (await line.receive_output())["code"] == 4502
        assert await rows() == 0
        await line.disconnect()
    finally:
        await shut_down_worker()


async def test_a_login_lost_while_authorize_thinks_gets_no_session(chat: Chat, ada: User) -> None:
    asked = asyncio.Event()
    think = asyncio.Event()

    async def decide(scope: dict[str, Any], session: Session) -> bool:
        asked.set()
        await think.wait()
        return True

    tab = visit(chat, door(decide), user=ada)
    task = asyncio.create_task(refused(tab))
    await asked.wait()
    await deactivate(ada)
    await until(lambda: any(error.code == "unauthorized" for error in tab.errors))
    think.set()
    assert await task == ("unauthorized", 4502)
    assert await rows() == 0


# Looking again, many together


def logins_of(users: list[User], **fields: Any) -> list[Login]:
    given: dict[str, Any] = {
        "access": Access(),
        "backend": "django.contrib.auth.backends.ModelBackend",
        "store": None,
        "session_key": None,
        "renewed": lambda user: None,
        "revoked": lambda detail: None,
    }
    return [
        Login(user=user, auth_hash=user.get_session_auth_hash(), **given | fields) for user in users
    ]


async def test_a_thousand_connections_take_two_queries(
    worker: Worker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users and Django sessions, for so many at a time as SQLite takes parameters."""
    made = [User(username=f"user {number}") for number in range(1000)]
    await User.objects.abulk_create(made)
    told: list[Any] = []
    logins = await sync_to_async(logins_of)(made, renewed=told.append)
    queries: list[int] = []

    def look(batch: list[Login]) -> Any:
        with CaptureQueriesContext(connections["default"]) as captured:
            verdicts = look_again(batch)
        queries.append(len(captured))
        return verdicts

    monkeypatch.setattr("chatsessions.auth.logins.look_again", look)
    for login in logins:
        worker.logins.add(login)
    await worker.logins._look_at(list(logins))
    assert queries == [1, 1]
    assert len({user.pk for user in told}) == 1000


async def test_a_connection_that_cannot_be_told_keeps_no_other_from_losing_its_login(
    worker: Worker, settings: Settings
) -> None:
    """It ended the watch: whoever was logged out from then on stayed connected."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "REVALIDATE_SECONDS": 0.02}
    await worker.start()
    users = [await User.objects.acreate_user(name) for name in ("ada", "bob")]
    lost: list[str] = []

    def fail(_user: Any) -> None:
        raise RuntimeError("this connection is broken")

    logins = await sync_to_async(logins_of)(users, renewed=fail, revoked=lost.append)
    for login in logins:
        worker.logins.add(login)
    for user in reversed(users):  # behind Django's back: only the watch can find out
        known = len(lost)
        await User.objects.filter(pk=user.pk).aupdate(is_active=False)
        await until(lambda known=known: len(lost) > known)


def test_many_logins_with_a_permission_take_two_queries() -> None:
    User.objects.bulk_create([User(username=f"user {number}") for number in range(100)])
    first, second, *others = User.objects.order_by("pk")
    first.user_permissions.add(Permission.objects.get(codename="view_chatsession"))
    User.objects.filter(pk=second.pk).update(is_superuser=True)
    logins = logins_of([first, second, *others], access=Access(permissions=(PERMISSION,)))
    with CaptureQueriesContext(connections["default"]) as captured:
        verdicts = look_again(logins)
    assert len(captured) == 2
    assert verdicts[:2] == [first, second]
    assert set(verdicts[2:]) == {"A permission was taken away."}


def test_two_connections_of_one_user_have_a_user_each() -> None:
    user = User.objects.create_user("ada")
    first, second = look_again(logins_of([user, user]))
    assert first == second == user
    assert first is not second


def test_a_permission_that_django_does_not_know_is_asked_of_the_backends(
    settings: Settings,
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        f"{__name__}.{Names.__name__}",
    ]
    users = [User.objects.create_user(name) for name in ("ada", "eve")]
    verdicts = look_again(logins_of(users, access=Access(permissions=("is ada",))))
    assert verdicts == [users[0], "A permission was taken away."]


class Names(ModelBackend):
    """Knows users of its own, and permissions."""

    gone: str | None = None

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return perm == f"is {user_obj.username}"

    def get_user(self, user_id: Any) -> Any:
        return User.objects.filter(pk=user_id).exclude(username="eve").first()


def test_a_backend_of_ones_own_says_who_is_there(settings: Settings) -> None:
    path = f"{__name__}.{Names.__name__}"
    settings.AUTHENTICATION_BACKENDS = [path]
    users = [User.objects.create_user(name) for name in ("ada", "eve")]
    verdicts = look_again(logins_of(users, backend=path))
    assert verdicts == [users[0], "The account is not active any more."]


class Forgetful(ModelBackend):
    """Raises for a user that was deleted, where Django expects None."""

    def get_user(self, user_id: Any) -> Any:
        return User.objects.get(pk=user_id)


def test_a_backend_that_raises_for_a_deleted_user_says_the_same(settings: Settings) -> None:
    """No login of the worker was checked any more, not even that of the deleted user."""
    path = f"{__name__}.{Forgetful.__name__}"
    settings.AUTHENTICATION_BACKENDS = [path]
    users = [User.objects.create_user(name) for name in ("ada", "eve")]
    logins = logins_of(users, backend=path)
    User.objects.filter(username="eve").delete()
    assert look_again(logins) == [users[0], "The account is not active any more."]


def test_a_backend_that_was_taken_out_lets_nobody_stay(settings: Settings) -> None:
    user = User.objects.create_user("ada")
    logins = logins_of([user], backend="gone.Backend")
    assert look_again(logins) == ["The account is not active any more."]


def test_a_backend_may_let_inactive_users_in(settings: Settings) -> None:
    path = "django.contrib.auth.backends.AllowAllUsersModelBackend"
    settings.AUTHENTICATION_BACKENDS = [path]
    user = User.objects.create_user("ada", is_active=False)
    assert look_again(logins_of([user], backend=path)) == [user]


def test_a_rotated_secret_key_is_no_changed_password(settings: Settings) -> None:
    user = User.objects.create_user("ada")
    logins = logins_of([user])
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert look_again(logins) == [user]
    settings.SECRET_KEY_FALLBACKS = []
    assert look_again(logins) == ["The password was changed."]


async def test_anonymous_connections_are_not_looked_at(
    chat: Chat, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(
        "chatsessions.auth.logins.look_again", lambda logins: looked.append(1) or []
    )
    async with visit(chat) as tab:
        assert len(get_worker().logins) == 0
        await asyncio.sleep(0.3)
        assert tab.connected
    assert looked == []


async def test_connections_are_looked_at_together(
    chat: Chat, ada: User, eve: User, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def look(logins: list[Login]) -> Any:
        looked.append(len(logins))
        return look_again(logins)

    monkeypatch.setattr("chatsessions.auth.logins.look_again", look)
    async with visit(chat, user=ada), visit(chat, user=ada), visit(chat, user=eve):
        await until(lambda: 3 in looked)
        looked.clear()
        await until(lambda: len(looked) >= 2)
        assert set(looked) == {3}
    # Nobody is left.
    assert len(looked) < 100


async def test_a_database_that_does_not_answer_throws_nobody_out(
    chat: Chat,
    ada: User,
    soon: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(logins: list[Login]) -> Any:
        raise ValueError("no answer")

    async with visit(chat, user=ada) as tab:
        monkeypatch.setattr("chatsessions.auth.logins.look_again", fail)
        await until(lambda: caplog.text.count("no answer") >= 2)
        assert tab.connected
        monkeypatch.undo()
        await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
        assert (await closed(tab))[0] == "unauthorized"


class Choosy(ModelBackend):
    """Cannot say anything about ada, once it is so."""

    fails = False

    def get_user(self, user_id: Any) -> Any:
        user = super().get_user(user_id)
        if user is not None and user.username == "ada" and self.fails:
            raise ValueError("no answer about ada")
        return user


async def test_a_backend_that_fails_for_one_user_lets_no_other_stay(
    chat: Chat,
    ada: User,
    eve: User,
    soon: None,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.{Choosy.__name__}"]
    async with visit(chat, user=ada) as kept, visit(chat, user=eve) as tab:
        monkeypatch.setattr(Choosy, "fails", True)
        await User.objects.filter(pk=eve.pk).aupdate(is_active=False)
        assert (await closed(tab))[0] == "unauthorized"
        told = f"The login of user {ada.pk} could not be looked at again"
        await until(lambda: told in caplog.text)  # the logins are checked in any order
        assert kept.connected


async def test_a_connection_that_is_gone_is_not_looked_at(chat: Chat, ada: User) -> None:
    async with visit(chat, user=ada) as tab:
        logins = get_worker().logins
        assert len(logins) == 1
        await tab.drop()
        await until(lambda: len(logins) == 0)
        await tab.resume()
        assert len(logins) == 1


async def test_the_worker_leaves_no_receiver_behind(worker: Worker, ada: User) -> None:
    signals = (user_logged_out, post_save, post_delete, m2m_changed)
    before = [len(signal.receivers) for signal in signals]
    [login] = await sync_to_async(logins_of)([ada])
    worker.logins.add(login)
    assert [len(signal.receivers) for signal in signals] != before
    await worker.close()
    assert [len(signal.receivers) for signal in signals] == before


# Frames of one's own


class EchoConsumer(SessionConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        user_session["last"] = text_data
        await self.send(f"{self.session.user.get_username()}: {text_data}")


async def open_line(consumer: type[SessionConsumer], user: User | None, **rules: Any) -> Any:
    cookies = [] if user is None else await login_cookie(user)
    application = AuthMiddlewareStack(consumer.as_asgi(**rules))
    return Communicator(application, "/", headers=cookies)


async def test_a_consumer_of_ones_own_asks_for_login_permission_and_authorize(ada: User) -> None:
    class Closed(EchoConsumer):
        async def authorize(self, scope: Any, session: Session) -> bool:
            return False

    try:
        for consumer, user, rules in (
            (EchoConsumer, None, {"login_required": True}),
            (EchoConsumer, ada, {"permission_required": PERMISSION}),
            (Closed, ada, {}),
        ):
            line = await open_line(consumer, user, **rules)
            assert await line.connect() == (True, None)
            assert (await line.receive_output())["code"] == 4502
            await line.disconnect()
        assert await rows() == 0
    finally:
        await shut_down_worker()


@pytest.mark.usefixtures("never")
async def test_a_consumer_of_ones_own_loses_the_login(ada: User) -> None:
    line = await open_line(EchoConsumer, ada, login_required=True)
    try:
        assert await line.connect() == (True, None)
        await line.send_to("one")
        assert await line.receive_from() == "ada: one"
        await deactivate(ada)
        assert (await line.receive_output())["code"] == 4502
        await line.send_to("two")
        await asyncio.sleep(0.1)
        await line.disconnect(4502)
        row = await ChatSession.objects.aget()
        assert row.state == '{"last":"one"}'
        await eventually(lambda: _is_away(row.pk))
    finally:
        await shut_down_worker()


# Limits


class Counted:
    """An application, and how many events its clients have sent it, repeats included."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.events = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counting() -> Any:
            message = await receive()
            if '"type":"event"' in message.get("text", ""):
                self.events += 1
            return message

        await self.application(scope, counting, send)


@pytest.mark.timeout(1000)
@pytest.mark.parametrize(
    ("count", "limits"),
    [
        pytest.param(240, {}, id="default"),
        pytest.param(1000, {"EVENTS_PER_SECOND": 1000, "EVENT_BURST": 100}, id="fast"),
        pytest.param(
            10_000,
            {"EVENTS_PER_SECOND": 1e6, "EVENT_BURST": 10**6, "MAX_PENDING_EVENTS": 1000},
            id="generous",
            marks=pytest.mark.slow,
        ),
        pytest.param(100, {"MAX_PENDING_EVENTS": 5}, id="few may wait"),
    ],
)
async def test_a_thousand_events_at_once_are_each_handled_once(
    chat: Chat, settings: Settings, count: int, limits: dict[str, Any]
) -> None:
    """A client that does as it is told is not closed, however fast it is."""
    settings.CHATSESSIONS = limits
    seen: list[int] = []

    @chat.on_event("count")
    async def handle(number: int) -> None:
        seen.append(number)

    application = Counted(AuthMiddlewareStack(ChatConsumer.as_asgi(chat=chat)))
    async with ChatCommunicator(application, "/") as tab:
        for number in range(count):
            await tab.send_event("count", number)
        assert await tab.wait_for_turn(timeout=900) == "done"
        assert seen == list(range(count))
        assert tab.connected
        assert {error.code for error in tab.errors} <= {"rate_limited", "busy", "n_gap"}
    assert application.events <= 1.5 * count

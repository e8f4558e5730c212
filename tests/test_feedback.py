"""Feedback: thumbs under answers, which are stored, told to a handler and shown in the admin."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import AsyncClient, override_settings
from django.test import Client as Browser
from django.urls import path, reverse
from django.utils import timezone

from chatsessions import AskUserMessage, Chat, ChatError, Feedback, Message, on_feedback
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.chat import _chats, module_chat
from chatsessions.models import ChatSession, SessionEvent, SessionFeedback
from chatsessions.protocol.events import MAX_COMMENT
from chatsessions.testing import ChatCommunicator, shut_down_worker
from chatsessions.views import ChatView
from chatsessions.workers.worker import get_worker

from .support.storage import session_row

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "admin:chatsessions_chatsession_changelist"
PAGE = "admin:chatsessions_chatsession_change"
FEEDBACK = "admin:chatsessions_sessionfeedback_changelist"


@pytest.fixture
def given(chat: Chat) -> list[Feedback]:
    """What the handler of a chat was given that answers each message."""
    found: list[Feedback] = []

    @chat.on_message
    async def answer(message: Message) -> None:
        await Message(f"You said {message.content}").send()

    @chat.on_feedback
    async def feedback(given: Feedback) -> None:
        found.append(given)

    return found


def visit(chat: Chat) -> ChatCommunicator:
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/ws/")


async def rows() -> list[tuple[str, str, str]]:
    """All feedback that is stored: message, value and comment."""
    found = SessionFeedback.objects.order_by("pk")
    return await sync_to_async(list)(found.values_list("message", "value", "comment"))


async def test_a_thumb_is_stored_and_told(chat: Chat, given: list[Feedback]) -> None:
    async with visit(chat) as tab:
        await tab.send("hello")
        answer = await tab.receive_message()
        data = {"message": answer.id, "value": "down", "comment": "Wrong.\nVery."}
        assert await tab.wait_for_turn(await tab.send_event("feedback", data)) == "done"
        assert given == [Feedback(message_id=answer.id, value="down", comment="Wrong.\nVery.")]
        assert await rows() == [(answer.id, "down", "Wrong.\nVery.")]
        [message] = [one for one in tab.messages if one.id == answer.id]
        assert (message.feedback, message.comment) == ("down", "Wrong.\nVery.")
        await tab.reload()
        [message] = [one for one in tab.messages if one.id == answer.id]
        assert (message.feedback, message.comment) == ("down", "Wrong.\nVery.")


async def test_the_last_one_counts_and_it_may_be_taken_back(
    chat: Chat, given: list[Feedback]
) -> None:
    async with visit(chat) as tab:
        await tab.send("hello")
        answer = await tab.receive_message()
        for value in ("up", "up", "down"):
            await tab.wait_for_turn(await tab.give_feedback(answer, value))
        assert await rows() == [(answer.id, "down", "")]
        await tab.wait_for_turn(await tab.give_feedback(answer, None, comment="never mind"))
        assert await rows() == []
        assert [one.value for one in given] == ["up", "up", "down", None]
        [message] = [one for one in tab.messages if one.id == answer.id]
        assert (message.feedback, message.comment) == (None, "")


def rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


async def test_one_whose_answer_cannot_be_looked_up_is_to_be_sent_again(
    chat: Chat, given: list[Feedback]
) -> None:
    """The connection broke if the database failed then."""
    async with visit(chat) as tab:
        await tab.wait_for_turn(await tab.send("hello"))
        [_, answer] = tab.messages
        await get_worker().journal.settled()
        await sync_to_async(rename)(SessionEvent._meta.db_table, "elsewhere")
        try:
            n = await tab.send_event("feedback", {"message": answer.id, "value": "up"})
            await tab.wait_until(lambda: tab.errors)
        finally:
            await sync_to_async(rename)("elsewhere", SessionEvent._meta.db_table)
        assert await tab.wait_for_turn(n) == "done"
        assert {error.code for error in tab.errors} == {"storage_unavailable"}
        assert [feedback.value for feedback in given] == ["up"]


async def test_a_changed_answer_keeps_its_thumb(chat: Chat) -> None:
    chat.feedback = True
    sent: list[Message] = []

    @chat.on_message
    async def answer() -> None:
        if not sent:
            sent.append(await Message("first").send())
        else:
            sent[0].content = "second"
            await sent[0].update()

    async with visit(chat) as tab:
        await tab.send("hello")
        answer_ = await tab.receive_message()
        await tab.wait_for_turn(await tab.give_feedback(answer_, "up"))
        await tab.wait_for_turn(await tab.send("again"))
        [message] = [one for one in tab.messages if one.id == answer_.id]
        assert (message.content, message.feedback) == ("second", "up")


async def test_without_a_handler_it_is_stored_all_the_same(chat: Chat) -> None:
    chat.feedback = True

    @chat.on_chat_start
    async def start() -> None:
        await Message("Hi").send()

    async with visit(chat) as tab:
        hi = await tab.receive_message()
        assert await tab.wait_for_turn(await tab.give_feedback(hi, "up")) == "done"
        assert await rows() == [(hi.id, "up", "")]
        assert tab.offers == ["feedback"]


async def test_a_chat_that_does_not_offer_it_takes_none(chat: Chat) -> None:
    @chat.on_chat_start
    async def start() -> None:
        await Message("Hi").send()

    async with visit(chat) as tab:
        hi = await tab.receive_message()
        await tab.give_feedback(hi, "up")
        await tab.wait_until(lambda: tab.errors)
        assert [error.code for error in tab.errors] == ["forbidden"]
        assert await rows() == []
        assert tab.offers == []


async def test_only_answers_of_the_session_can_be_given_any(
    chat: Chat, given: list[Feedback]
) -> None:
    @chat.on_chat_start
    async def start() -> None:
        gone = await Message("gone", id="gone").send()
        await gone.remove()
        await Message("as if the user had", id="quoted", type="user_message").send()

    async with visit(chat) as other:
        await other.wait_for_turn(await other.send("hello"))
        elsewhere = other.messages[-1].id
    async with visit(chat) as tab:
        mine = str(uuid4())
        await tab.wait_for_turn(await tab.send_event("message", {"content": "hi", "id": mine}))
        for count, message in enumerate(("unknown", elsewhere, mine, "gone", "quoted", "%", '"')):
            await tab.send_event("feedback", {"message": message, "value": "up"})
            await tab.wait_until(lambda: len(tab.errors) > count)  # noqa: B023  # awaited here
        assert {error.code for error in tab.errors} == {"forbidden"}
        assert (given, await rows()) == ([], [])


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"message": "1"},
        {"value": "up"},
        {"message": "1", "value": "sideways"},
        {"message": "1", "value": 1},
        {"message": "1", "value": True},
        {"message": 1, "value": "up"},
        {"message": "", "value": "up"},
        {"message": "a" * 256, "value": "up"},
        {"message": "1\0", "value": "up"},
        {"message": "1", "value": "up", "comment": None},
        {"message": "1", "value": "up", "comment": "a" * (MAX_COMMENT + 1)},
        {"message": "1", "value": "up", "comment": "no\0"},
    ],
)
async def test_what_is_no_feedback_is_refused(chat: Chat, given: list[Feedback], data: Any) -> None:
    @chat.on_chat_start
    async def start() -> None:
        await Message("Hi", id="1").send()

    async with visit(chat) as tab:
        await tab.receive_message()
        await tab.send_event("feedback", data)
        await tab.wait_until(lambda: tab.errors)
        assert [error.code for error in tab.errors] == ["bad_frame"]
        # The session goes on.
        await tab.send("hello")
        assert (await tab.receive_message()).content == "You said hello"
        assert (given, await rows()) == ([], [])


async def test_the_longest_comment_and_odd_signs_are_kept(
    chat: Chat, given: list[Feedback]
) -> None:
    comment = ("ü👍'\"%\\ " * MAX_COMMENT)[:MAX_COMMENT]
    async with visit(chat) as tab:
        await tab.send("hello")
        answer = await tab.receive_message()
        await tab.wait_for_turn(await tab.give_feedback(answer, "up", comment=comment))
        assert await rows() == [(answer.id, "up", comment)]
        assert given[0].comment == comment


async def test_it_does_not_wait_for_a_question(chat: Chat, given: list[Feedback]) -> None:
    @chat.on_event("ask")
    async def ask() -> None:
        await AskUserMessage("Your name?", timeout=None).send()

    async with visit(chat) as tab:
        await tab.send("hello")
        answer = await tab.receive_message()
        asking = await tab.send_event("ask")
        question = await tab.receive_event("ask")
        assert await tab.wait_for_turn(await tab.give_feedback(answer, "up")) == "done"
        await tab.answer(question.data["call"], {"content": "Ada"})
        assert await tab.wait_for_turn(asking) == "done"


async def test_it_may_be_posted(chat: Chat, given: list[Feedback]) -> None:
    browser = AsyncClient()
    routes = ModuleType("routes")
    routes.urlpatterns = [path("chat/", ChatView.as_view(chat=chat))]  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=routes):

        async def post(body: dict[str, Any]) -> Any:
            response = await browser.post("/chat/", json.dumps(body), "application/json")
            return response.status_code, json.loads(response.content)

        _, said = await post({"content": "hello"})
        answer = said["events"][-1]["data"]["id"]
        data = {"message": answer, "value": "up"}
        status, told = await post({"name": "feedback", "data": data})
        assert (status, told["turn"]["status"]) == (200, "done")
        assert await rows() == [(answer, "up", "")]
        status, told = await post({"name": "feedback", "data": data | {"message": "x"}})
        assert (status, told["error"]) == (403, "forbidden")
        status, told = await post({"name": "feedback", "data": data | {"value": 3}})
        assert (status, told["error"]) == (400, "bad_request")
    await shut_down_worker()


def test_the_event_has_a_hook_of_its_own(chat: Chat) -> None:
    with pytest.raises(ChatError, match="on_feedback"):
        chat.on_event("feedback")


def test_the_decorator_of_a_module() -> None:
    try:
        on_feedback(lambda: None)
        assert module_chat(__name__).offers == ["feedback"]
    finally:
        del _chats[__name__]


# The admin


@pytest.fixture
def rated(admin_client: Browser) -> Callable[..., ChatSession]:
    """Makes a session with an answer, and feedback on it."""

    def make(value: str | None, *, chat: str = "tests.shop", comment: str = "") -> ChatSession:
        now = timezone.now()
        session = session_row(chat=chat, head=2, topic=f"{value} {comment}")
        message = {"id": "a1", "content": "An answer", "author": "Bot"}
        SessionEvent.objects.create(
            session=session, seq=1, name="message", data=message, created_at=now
        )
        if value is not None:
            given = {"message": "a1", "value": value, "comment": comment}
            SessionEvent.objects.create(
                session=session, seq=2, n=1, name="feedback", data=given, created_at=now
            )
            SessionFeedback.objects.create(
                session=session, message="a1", seq=1, value=value, comment=comment, given_at=now
            )
        return session

    return make


def test_the_transcript_has_it_on_the_message(
    admin_client: Browser, rated: Callable[..., ChatSession]
) -> None:
    session = rated("down", comment="<b>Nonsense</b>")
    page = admin_client.get(reverse(PAGE, args=[session.pk])).content.decode()
    [line] = [part for part in page.split("<li ") if 'id="entry-1"' in part]
    assert "thumbs down" in line
    assert "&lt;b&gt;Nonsense&lt;/b&gt;" in line
    assert 'id="entry-2"' not in page  # it is on the message
    assert "0 up, 1 down" in page


def test_sessions_are_filtered_by_it(
    admin_client: Browser, rated: Callable[..., ChatSession]
) -> None:
    up, down, none = rated("up"), rated("down"), rated(None)
    for query, found in (({"thumb": "up"}, up), ({"thumb": "down"}, down)):
        page = admin_client.get(reverse(LIST), query).content.decode()
        shown = [one for one in (up, down, none) if str(one.pk) in page]
        assert shown == [found]


def test_the_list_of_feedback_has_the_share_of_each_chat(
    admin_client: Browser, rated: Callable[..., ChatSession]
) -> None:
    for value in ("up", "up", "up", "down"):
        rated(value, comment=f"because {value}")
    rated("down", chat="tests.other")
    page = admin_client.get(reverse(FEEDBACK)).content.decode()
    shares = page.split("chatsessions-shares")[1].split("</table>")[0]
    assert shares.index("tests.shop") < shares.index("tests.other")
    assert ["75 %" in shares, "0 %" in shares] == [True, True]
    page = admin_client.get(
        reverse(FEEDBACK), {"thumb": "down", "chat": "tests.shop"}
    ).content.decode()
    assert "because down" in page
    assert "because up" not in page
    shares = page.split("chatsessions-shares")[1].split("</table>")[0]
    assert "75 %" in shares
    assert "tests.other" not in shares


def test_it_cannot_be_changed_or_deleted_there(
    admin_client: Browser, rated: Callable[..., ChatSession]
) -> None:
    session = rated("up", comment="fine")
    [row] = SessionFeedback.objects.all()
    page = "admin:chatsessions_sessionfeedback"
    assert b"fine" in admin_client.get(reverse(f"{page}_change", args=[row.pk])).content
    assert admin_client.post(reverse(f"{page}_change", args=[row.pk])).status_code == 403
    assert admin_client.post(reverse(f"{page}_delete", args=[row.pk])).status_code == 403
    assert admin_client.get(reverse(f"{page}_add")).status_code == 403
    # It goes with its session.
    delete = reverse("admin:chatsessions_chatsession_delete", args=[session.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302
    assert not SessionFeedback.objects.exists()


def test_it_takes_a_permission(client: Browser) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    client.force_login(clerk)
    assert client.get(reverse(FEEDBACK)).status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="view_sessionfeedback"))
    assert client.get(reverse(FEEDBACK)).status_code == 200

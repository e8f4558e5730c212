"""A conversation as a file: for its user, and in the admin."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from chatsessions.admin.markdown import to_html
from chatsessions.admin.values import MASK
from chatsessions.models import ChatSession, SessionEvent

from .support.files import bearer, stored_file, token_session
from .support.storage import session_row

pytestmark = [pytest.mark.django_db(transaction=True)]

EXPORT = "admin:chatsessions_chatsession_export"


def url(session: ChatSession, kind: str = "json") -> str:
    return f"/chats/{session.pk}/export/?format={kind}"


def fill(session: ChatSession, *entries: tuple[str, int | None, Any]) -> None:
    now = timezone.now()
    for seq, (name, n, data) in enumerate(entries, 1):
        SessionEvent.objects.create(
            session=session, seq=seq, name=name, n=n, data=data, created_at=now
        )


def answer(id_: str, content: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "author": "Bot", "content": content, "streaming": False, **more}


def body(response: Any) -> str:
    assert response.status_code == 200, response.content
    text: str = b"".join(response.streaming_content).decode()
    return text


@pytest.fixture
def session() -> tuple[ChatSession, str]:
    """A session with all that may become of a message, and its client's token."""
    session, token = token_session(chat="shop", topic="Räder / wheels?")
    file = stored_file(session, name="wheel.txt")
    fill(
        session,
        ("message", 1, {"content": "Hello", "id": "u1"}),
        ("message", None, answer("a1", "**Hi**", format="markdown", metadata={"api_key": "s3"})),
        ("message", 2, {"content": "wrong", "id": "u2"}),
        ("message", None, {**answer("a2", "to be dropped"), "turn": 2}),
        (
            "message",
            3,
            {"content": "# 1 < 2\n- a\n1. b", "replaces": 2, "files": [file.id.upper()]},
        ),
        ("message", None, answer("a3", "draft")),
        ("message_update", None, answer("a3", "*plain* <b>text</b>")),
        ("message", None, answer("a4", "gone")),
        ("message_remove", None, {"id": "a4"}),
        ("feedback", 4, {"message": "a3", "value": "up", "comment": "Good"}),
    )
    return session, token


def test_json_has_the_conversation_as_it_is_now(
    client: Client, session: tuple[ChatSession, str]
) -> None:
    row, token = session
    response = client.get(url(row), headers=bearer(token))
    told = json.loads(body(response))
    messages = told.pop("messages")
    assert told == {
        "version": 1,
        "session": str(row.pk),
        "thread": str(row.thread_id),
        "chat": "shop",
        "topic": "Räder / wheels?",
        "started": told["started"],
    }
    assert [(one["type"], one["content"], one["format"]) for one in messages] == [
        ("user_message", "Hello", "text"),
        ("assistant_message", "**Hi**", "markdown"),
        ("user_message", "# 1 < 2\n- a\n1. b", "text"),
        ("assistant_message", "*plain* <b>text</b>", "text"),
    ]
    assert messages[1]["metadata"] == {"api_key": "s3"}
    assert [file["name"] for file in messages[2]["files"]] == ["wheel.txt"]
    assert messages[3]["feedback"] == {"value": "up", "comment": "Good"}
    assert all("+" in one["created_at"] or "Z" in one["created_at"] for one in messages)
    assert response["Content-Type"] == "application/json; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    disposition = response["Content-Disposition"]
    assert disposition.startswith("attachment; filename*=utf-8''R%C3%A4der")
    assert disposition.endswith(".json")
    assert "%2F" not in disposition


def test_markdown_shows_what_was_said(client: Client, session: tuple[ChatSession, str]) -> None:
    row, token = session
    response = client.get(url(row, "markdown"), headers=bearer(token))
    text = body(response)
    assert response["Content-Type"] == "text/markdown; charset=utf-8"
    shown = to_html(text)
    assert shown.count("<h4>") == 4  # below the page's own
    assert "<strong>Hi</strong>" in shown  # Markdown is as it is
    assert "*plain* &lt;b&gt;text&lt;/b&gt;" in shown  # and text as it was written
    assert "# 1 &lt; 2<br" in shown
    assert shown.count("<li>") == 1  # the file
    assert "wheel.txt" in shown
    assert "dropped" not in shown
    assert "gone" not in shown


async def test_markdown_is_in_the_language_of_the_session() -> None:
    """The answer is sent when the view is over, and its language is that of the request again."""
    row, token = await sync_to_async(token_session)(chat="shop", language="de")
    await sync_to_async(fill)(row, ("message", 1, {"content": "Hallo"}))
    response = await AsyncClient().get(url(row, "markdown"), headers=bearer(token))
    text = b"".join([part async for part in response.streaming_content]).decode()
    assert "## Sie\n" in text


async def test_a_long_one_comes_in_parts(session: tuple[ChatSession, str]) -> None:
    row, token = session
    now = timezone.now()
    await SessionEvent.objects.abulk_create(
        SessionEvent(
            session=row,
            seq=seq,
            name="message",
            data=answer(f"m{seq}", "x" * 1000),
            created_at=now,
        )
        for seq in range(11, 1211)
    )
    response = await AsyncClient().get(url(row), headers=bearer(token))
    parts = [part async for part in response.streaming_content]
    assert len(parts) > 10
    assert len(json.loads(b"".join(parts))["messages"]) == 1204


def test_only_its_client_gets_it(client: Client, session: tuple[ChatSession, str]) -> None:
    row, token = session
    hers = session_row(user=User.objects.create_user("ada"))
    for response in (
        client.get(url(row)),
        client.get(url(row), headers=bearer("wrong")),
        client.get(url(hers), headers=bearer(token)),
    ):
        assert (response.status_code, response.json()["error"]) == (404, "not_found")
    assert client.get(url(row, "pdf"), headers=bearer(token)).status_code == 400
    assert client.post(url(row), headers=bearer(token)).status_code == 405


async def test_requests_that_come_at_once_do_not_all_read_the_log(settings: Any) -> None:
    """The bytes of the log were counted when it had been read, and by then all were let in."""
    settings.CHATSESSIONS = {"REPLAY_BURST_BYTES": 1024, "REPLAY_BYTES_PER_SECOND": 1024}
    settings.MIDDLEWARE = []  # one that is not async makes requests wait for one another
    row, token = await sync_to_async(token_session)(chat="shop", log_bytes=32 * 1024 * 1024)
    client = AsyncClient()
    asked = [client.get(url(row), headers=bearer(token)) for _ in range(5)]
    answers = await asyncio.gather(*asked)
    assert sorted(one.status_code for one in answers) == [200, 429, 429, 429, 429]


def test_an_empty_one_is_a_document_too(client: Client) -> None:
    row, token = token_session(chat="shop")
    assert json.loads(body(client.get(url(row), headers=bearer(token))))["messages"] == []
    assert body(client.get(url(row, "markdown"), headers=bearer(token))) == "# shop\n"


def test_the_admin_exports_what_may_be_seen(
    client: Client, session: tuple[ChatSession, str]
) -> None:
    row, _token = session
    clerk = User.objects.create_user("clerk", is_staff=True)
    client.force_login(clerk)
    to_json = reverse(EXPORT, args=[row.pk, "json"])
    assert client.get(to_json).status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="view_chatsession"))
    page = client.get(reverse("admin:chatsessions_chatsession_change", args=[row.pk]))
    assert to_json in page.content.decode()
    assert reverse(EXPORT, args=[row.pk, "markdown"]) in page.content.decode()
    told = json.loads(body(client.get(to_json)))
    assert told["messages"][1]["metadata"] == {"api_key": MASK}
    clerk.user_permissions.add(Permission.objects.get(codename="view_secrets"))
    told = json.loads(body(client.get(to_json)))
    assert told["messages"][1]["metadata"] == {"api_key": "s3"}
    assert client.get(reverse(EXPORT, args=[row.pk, "pdf"])).status_code == 404

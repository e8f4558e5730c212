"""The admin's pages, somebody who looks at them, and the logs that they show."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chatsessions.admin.transcript import Line, LoggedEvent, transcript
from chatsessions.models import ChatSession, SessionEvent

LIST = "admin:chatsessions_chatsession_changelist"
PAGE = "admin:chatsessions_chatsession_change"
DELETE = "admin:chatsessions_chatsession_delete"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def staff(*codenames: str) -> Client:
    """Log in as someone of the staff who has the permissions given, and no others."""
    user = User.objects.create_user(f"staff{uuid4().hex}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def listed(client: Client, **query: str) -> list[ChatSession]:
    """Return the sessions on a page of the list."""
    response = client.get(reverse(LIST), query)
    assert response.status_code == 200, response
    found: list[ChatSession] = response.context["cl"].result_list
    return found


def page_of(client: Client, session: ChatSession, **query: str) -> str:
    """Return the HTML of the page of a session."""
    response = client.get(reverse(PAGE, args=[session.pk]), query)
    assert response.status_code == 200, response
    return response.content.decode()


# Logs


def say(session: ChatSession, name: str, data: Any, *, n: int | None = None) -> None:
    """Put an entry into the session's log: of the client, if it has the number ``n``."""
    session.head += 1
    SessionEvent.objects.create(
        session=session, seq=session.head, n=n, name=name, data=data, created_at=timezone.now()
    )
    session.save(update_fields=["head"])


def said(id_: str, content: object, **more: object) -> dict[str, object]:
    """Return the data of a message of the server."""
    return {"id": id_, "author": "Bot", "content": content, "streaming": False, **more}


def lines(*entries: tuple[str, object] | LoggedEvent, reveal: bool = False) -> list[Line]:
    """Return the transcript of a log: of entries, and of the server's events."""
    made = [
        entry if isinstance(entry, LoggedEvent) else logged(entry[0], json.dumps(entry[1]), seq=seq)
        for seq, entry in enumerate(entries, 1)
    ]
    return transcript(made, session=uuid4(), client="alice", reveal=reveal)


def logged(
    name: str, text: str, *, seq: int = 1, n: int | None = None, status: str | None = None
) -> LoggedEvent:
    return LoggedEvent(
        seq=seq, n=n, turn=None, name=name, data=text.encode(), created_at=NOON, status=status
    )

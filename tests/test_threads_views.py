"""The threads of a user as JSON: what is told, to whom, at which cost."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.utils import timezone

from chatsessions import Chat
from chatsessions.consumers import ChatConsumer
from chatsessions.models import ChatSession, SessionEvent

from .support.sessions import running_worker
from .support.storage import session_row

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db

LIST = "/chats/threads/"


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def client(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def thread(user: User | None, *texts: str, age: int = 0, **fields: Any) -> ChatSession:
    """A session in which the user has said ``texts``, and was answered, ``age`` days ago."""
    at = timezone.now() - timedelta(days=age)
    given = {
        "user": user,
        "topic": texts[0][:100] if texts else "",
        "events_in": len(texts),
        "head": 2 * len(texts),
        "created_at": at,
        "last_seen_at": at,
    }
    row = session_row(**given | fields)
    for n, text in enumerate(texts, 1):
        entry(row, 2 * n - 1, {"content": text, "id": str(uuid4())}, n=n)
        answer = {"id": str(uuid4()), "author": "Bot", "content": f"re {text}", "created_at": at}
        entry(row, 2 * n, answer | {"streaming": False})
    return row


def entry(
    row: ChatSession, seq: int, data: Any, *, n: int | None = None, name: str = "message"
) -> None:
    SessionEvent.objects.create(
        session=row, seq=seq, n=n, name=name, data=data, created_at=row.created_at
    )


def url(row: ChatSession) -> str:
    return f"{LIST}{row.thread_id}/"


def answer(response: HttpResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    assert "no-store" in response["Cache-Control"]
    return json.loads(response.content)


def titles(client: Client, **query: Any) -> list[str]:
    return [one["title"] for one in answer(client.get(LIST, query))["threads"]]


# Whose they are


def test_an_anonymous_user_is_told_to_log_in(ada: User) -> None:
    row = thread(ada, "secret")
    for address in (LIST, url(row), f"{LIST}{uuid4()}/"):
        told = answer(Client().get(address), 401)
        assert told["error"] == "unauthorized"
        assert "secret" not in str(told)


def test_anothers_thread_is_as_one_that_there_is_not(client: Client) -> None:
    bob = User.objects.create_user("bob")
    foreign, nobodys = thread(bob, "secret"), thread(None, "secret")
    told = [
        answer(client.get(address), 404)
        for address in (url(foreign), url(nobodys), f"{LIST}{uuid4()}/")
    ]
    assert told[0] == told[1] == told[2]
    assert titles(client) == titles(client, q="secret") == []


def test_neither_is_it_for_an_admin(admin_client: Client, ada: User) -> None:
    answer(admin_client.get(url(thread(ada, "secret"))), 404)
    assert titles(admin_client) == []


def test_threads_of_a_chat_that_is_not_open_to_the_user_any_more(
    client: Client, ada: User, chat: Chat
) -> None:
    ChatConsumer.as_asgi(chat=chat, permission_required="auth.view_user")
    closed, other = thread(ada, "secret", chat=chat.name), thread(ada, "other")
    assert titles(client) == ["other"]
    assert answer(client.get(LIST))["count"] == 1
    for query in ({"q": "secret"}, {"chat": chat.name}):
        assert titles(client, **query) == []
    assert answer(client.get(url(closed)), 403)["error"] == "forbidden"
    answer(client.get(url(other)))
    ada.user_permissions.add(Permission.objects.get(codename="view_user"))
    assert titles(client, q="secret") == ["secret"]
    answer(client.get(url(closed)))


def test_anothers_session_is_no_way_into_ones_thread(client: Client, ada: User) -> None:
    """``before`` names a session; only one of the thread counts."""
    mine, foreign = thread(ada, "mine"), thread(User.objects.create_user("bob"), "secret")
    told = answer(client.get(url(mine), {"before": f"{foreign.pk}:99"}))
    assert told["messages"] == []


def test_a_session_of_another_user_in_ones_thread_is_not_told(client: Client, ada: User) -> None:
    mine = thread(ada, "mine")
    thread(User.objects.create_user("bob"), "secret", thread_id=mine.thread_id)
    told = answer(client.get(url(mine)))
    assert told["sessions"] == 1
    assert "secret" not in str(told)
    assert titles(client, q="secret") == []


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_they_are_for_reading(client: Client, ada: User, method: str) -> None:
    row = thread(ada, "one")
    for address in (LIST, url(row)):
        assert getattr(client, method)(address).status_code == 405


# The list


def test_the_list(client: Client, ada: User) -> None:
    old, new = thread(ada, "old", age=2), thread(ada, "new", age=1)
    thread(ada, "old again", thread_id=old.thread_id)
    thread(ada)  # somebody who has opened a page and said nothing
    told = answer(client.get(LIST))
    assert {key: told[key] for key in ("page", "pages", "count")} == {
        "page": 1,
        "pages": 1,
        "count": 2,
    }
    first, second = told["threads"]
    assert set(first) == {"id", "chat", "title", "started", "last_seen", "sessions"}
    assert (first["id"], first["title"], first["sessions"]) == (str(old.thread_id), "old", 2)
    assert (second["id"], second["title"], second["sessions"]) == (str(new.thread_id), "new", 1)
    assert first["started"] < second["started"] < first["last_seen"]


def test_the_list_of_one_chat(client: Client, ada: User) -> None:
    """A page offers what its own chat can go on with; to others it would be as good as unknown."""
    thread(ada, "here", chat="desk")
    thread(ada, "there", chat="shop")
    assert titles(client, chat="desk") == ["here"]
    assert titles(client, chat="desk", q="there") == []
    assert titles(client, chat="nobody\0") == []
    assert sorted(titles(client, chat="")) == ["here", "there"]


def test_the_list_has_pages(client: Client, ada: User, django_assert_num_queries: Any) -> None:
    for number in range(45):
        thread(ada, f"number {number:02}", age=number)
    with django_assert_num_queries(4):  # the login takes two
        assert len(titles(client)) == 20
    pages = [titles(client, page=page) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [20, 20, 5]
    assert sorted(title for page in pages for title in page) == [
        f"number {number:02}" for number in range(45)
    ]
    assert titles(client, page=99) == pages[2]
    assert titles(client, page="x") == titles(client, page="") == pages[0]
    assert titles(client, page="-1") == pages[2]


@pytest.mark.parametrize("word", ["WORD", "word", "orange w", "re an O"])
def test_the_search_looks_into_titles_and_messages(client: Client, ada: User, word: str) -> None:
    thread(ada, "title one", "an ORANGE word")
    thread(ada, "title two")
    assert titles(client, q=word) == ["title one"]
    assert sorted(titles(client, q="title")) == ["title one", "title two"]


@pytest.mark.parametrize(
    "q", ["content", "author", "Bot", "streaming", "%", "_", "\\", "{", '":', "false"]
)
def test_the_search_does_not_look_into_keys(client: Client, ada: User, q: str) -> None:
    thread(ada, "one")
    assert titles(client, q=q) == []


@pytest.mark.parametrize("text", ['say "hi"', "back\\slash", "100 %", "grüße", "😀", "a\nb"])
def test_the_search_finds_what_json_escapes(client: Client, ada: User, text: str) -> None:
    thread(ada, "one", f"well, {text} then")
    row = thread(ada, "two", age=1)
    # As a client wrote it that escapes whatever is not ASCII.
    entry(row, 3, {"content": "x"}, n=3)
    raw = json.dumps({"content": f"then {text}"})
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE chatsessions_sessionevent SET data = %s WHERE session_id = %s AND seq = 3",
            [raw, row.pk.hex if connection.vendor == "sqlite" else row.pk],
        )
    assert titles(client, q=text) == ["one", "two"]


@pytest.mark.parametrize("q", ["\0", "  ", "x" * 5000, "\ud83d"])
def test_an_odd_search_finds_nothing_or_all(client: Client, ada: User, q: str) -> None:
    thread(ada, "one")
    with override_settings(DEBUG=False):
        told = answer(client.get(LIST, {"q": q.encode(errors="replace")}))
    assert told["count"] in (0, 1)


def test_a_search_looks_into_so_many_bytes_of_the_latest_logs(
    client: Client, ada: User, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_SEARCH_BYTES": 2**20}
    for age in range(30):
        row = thread(ada, f"number {age:02}", "needle", age=age, log_bytes=2**17)
        entry(row, 5, {"content": "needle " + "x" * 100_000})
    assert titles(client, q="needle") == [f"number {age:02}" for age in range(8)]
    # Of short entries there are no more than of a kilobyte each.
    ChatSession.objects.update(log_bytes=0, head=200)
    assert titles(client, q="needle") == [f"number {age:02}" for age in range(6)]
    # A title is found however old it is.
    assert titles(client, q="number 29") == ["number 29"]


@pytest.mark.django_db(transaction=True)
async def test_a_user_searches_no_faster_than_so(ada: User, settings: Settings) -> None:
    settings.CHATSESSIONS = {"SEARCHES_PER_MINUTE": 3}
    client = AsyncClient()
    await client.aforce_login(ada)
    async with running_worker():
        told = [await client.get(LIST, {"q": "a"}) for _ in range(5)]
        assert [one.status_code for one in told] == [200] * 3 + [429] * 2
        assert told[-1].json()["error"] == "rate_limited"
        assert 0 < told[-1].json()["retry_after"] <= 20
        assert 1 <= int(told[-1]["Retry-After"]) <= 20
        assert (await client.get(LIST)).status_code == 200


# One thread


def test_a_transcript(client: Client, ada: User) -> None:
    row = thread(ada, "one", age=1)
    later = thread(ada, "two", thread_id=row.thread_id)
    entry(later, 3, {"id": "e", "author": "Bot", "content": "no", "created_at": timezone.now()})
    entry(later, 4, {"id": "e"}, name="message_remove")
    told = answer(client.get(url(row)))
    assert (told["id"], told["chat"], told["sessions"]) == (str(row.thread_id), row.chat, 2)
    assert told["before"] is None
    messages = [(one["type"], one["author"], one["content"]) for one in told["messages"]]
    assert messages == [
        ("user_message", "User", "one"),
        ("assistant_message", "Bot", "re one"),
        ("user_message", "User", "two"),
        ("assistant_message", "Bot", "re two"),
    ]
    assert all(one["id"] and one["created_at"] for one in told["messages"])


def test_a_long_transcript_has_pages(
    client: Client, ada: User, django_assert_max_num_queries: Any
) -> None:
    row = thread(ada, *(f"{n:03}" for n in range(75)), age=1)
    thread(ada, *(f"{n:03}" for n in range(75, 125)), thread_id=row.thread_id)
    contents: list[str] = []
    before = ""
    for size in (100, 100, 50):
        with django_assert_max_num_queries(20):
            told = answer(client.get(url(row), {"before": before}))
        assert len(told["messages"]) == size
        contents = [one["content"] for one in told["messages"]] + contents
        before = told["before"]
    assert before is None
    assert contents == [text for n in range(125) for text in (f"{n:03}", f"re {n:03}")]


@pytest.mark.parametrize(
    "before", ["x", ":", "1:1", f"{UUID(int=1)}:", f"{UUID(int=1)}:-1", "²:²", "9" * 99]
)
def test_a_before_that_was_not_given_out(client: Client, ada: User, before: str) -> None:
    assert answer(client.get(url(thread(ada, "one")), {"before": before}), 400)["error"]


def test_the_models_say_the_same(ada: User) -> None:
    row = thread(ada, "one")
    [found] = ChatSession.objects.threads_of(ada)
    assert found["thread_id"] == row.thread_id
    assert list(ChatSession.objects.filter(status="ended").threads_of(ada)) == []

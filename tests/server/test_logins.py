"""Logins of real browsers' kind: cookies, a logout by a page, and a change by another process."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.sessions import until

from .client import Client
from .harness import Kind, Server, running

ClientOf = Callable[..., Client]
CSRF = "a" * 32


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    kind: Kind = request.param
    with running(kind=kind, chatsessions={"REVALIDATE_SECONDS": 3600}) as found:
        yield found


@pytest.fixture
def often(start_server: Callable[..., Server]) -> Server:
    return start_server(chatsessions={"REVALIDATE_SECONDS": 0.3})


def log_out(server: Server, cookie: str) -> None:
    """The admin's logout button."""
    request = urllib.request.Request(  # noqa: S310  # our own server
        f"{server.origin}/admin/logout/",
        data=b"",
        headers={
            "Cookie": f"{cookie}; csrftoken={CSRF}",
            "X-CSRFToken": CSRF,
            "Origin": server.origin,
        },
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        assert response.status == 200


def away(server: Server, client: Client) -> bool:
    return str(server.database.session(client.session or "")["status"]) == "away"


async def test_a_stranger_is_told_to_log_in(server: Server, client_of: ClientOf) -> None:
    before = server.database.sessions()
    client = await client_of(server, "members").connect()
    await client.send({"type": "hello"})
    assert await client.closed() == 4502
    assert [error["code"] for error in client.of_type("error")] == ["unauthorized"]
    assert server.database.sessions() == before


async def test_a_logout_closes_at_once_and_the_session_waits(
    server: Server, client_of: ClientOf
) -> None:
    cookie = server.login("ada")
    server.database.execute("UPDATE auth_user SET is_staff = 1")  # for the admin's button
    tab = await client_of(server, "members", cookie=cookie).start()
    phone = await client_of(server, "members", cookie=server.login("ada")).start()
    await tab.message("one")
    await tab.outcome(1)
    await asyncio.to_thread(log_out, server, cookie)
    assert await tab.closed() == 4502
    assert tab.of_type("error")[-1] == {
        "type": "error",
        "code": "unauthorized",
        "detail": "You were logged out.",
    }
    await until(lambda: away(server, tab))
    await phone.ping()
    # The old cookie is nobody's any more.
    await tab.close()
    await tab.connect()
    await tab.send({"type": "hello", "session": tab.session, "token": tab.token})
    assert await tab.closed() == 4502
    # After the next login the conversation goes on.
    await tab.close()
    tab.cookie = server.login("ada")
    assert (await tab.resume())["resumed"]


def stream(server: Server, cookie: str) -> Iterator[dict[str, Any]]:
    """The frames of a turn that streams for longer than any test waits, as they come."""
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    headers |= {"Cookie": f"{cookie}; csrftoken={CSRF}", "X-CSRFToken": CSRF}
    body = json.dumps({"name": "stream", "data": {"count": 3000, "pause": 0.02}})
    with closing(line):
        line.request("POST", "/http/faulty/", body, headers)
        response = line.getresponse()
        assert response.status == 200, response.read()
        while text := response.readline():
            if text.startswith(b"data: "):
                yield json.loads(text.removeprefix(b"data: "))


def test_a_logout_ends_a_stream_of_server_sent_events(server: Server) -> None:
    cookie = server.login("ada")
    server.database.execute("UPDATE auth_user SET is_staff = 1")
    frames = stream(server, cookie)
    session = next(frames)["session"]
    assert any(frame["type"] == "token" for frame in frames)
    log_out(server, cookie)
    rest = list(frames)
    assert rest[-1] == {"type": "error", "code": "unauthorized", "detail": "You were logged out."}
    assert {frame["type"] for frame in rest[:-1]} <= {"token"}
    # The turn goes on without its reader.
    assert server.database.session(session)["running"] == 1


async def test_an_update_of_another_process_is_noticed(often: Server, client_of: ClientOf) -> None:
    ada = await client_of(often, "members", cookie=often.login("ada")).start()
    eve = await client_of(often, "members", cookie=often.login("eve")).start()
    often.database.execute("UPDATE auth_user SET is_active = 0 WHERE username = 'ada'")
    assert await ada.closed() == 4502
    assert ada.of_type("error")[-1]["code"] == "unauthorized"
    await until(lambda: away(often, ada))
    await eve.ping()
    often.database.execute("DELETE FROM django_session")
    assert await eve.closed() == 4502

"""Logins of real browsers' kind: cookies, and a logout by a page."""

from __future__ import annotations

import asyncio

from tests.support.sessions import until

from .client import ClientOf
from .harness import Server
from .requests import STREAM, ask, fetch, read_frames, told

CSRF = "a" * 32


def log_in(server: Server) -> str:
    """The cookie of somebody who sees the admin's logout button."""
    cookie = server.login("ada")
    server.database.execute("UPDATE auth_user SET is_staff = 1 WHERE username = 'ada'")
    return cookie


def log_out(server: Server, cookie: str) -> None:
    """The admin's logout button."""
    headers = {"Cookie": f"{cookie}; csrftoken={CSRF}", "X-CSRFToken": CSRF}
    answer, _ = fetch(server, "POST", "/admin/logout/", **headers, Origin=server.origin)
    assert answer.status == 200


async def test_a_logout_closes_at_once_and_the_session_waits(
    server: Server, client_of: ClientOf
) -> None:
    cookie = log_in(server)
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
    await until(lambda: server.database.session(tab.session)["status"] == "away")
    await phone.ping()
    # The old cookie is nobody's any more.
    await tab.close()
    await tab.knock()
    assert await tab.closed() == 4502
    # After the next login the conversation goes on.
    await tab.close()
    tab.cookie = server.login("ada")
    assert (await tab.resume())["resumed"]


def test_a_logout_ends_a_stream_of_server_sent_events(server: Server) -> None:
    cookie = log_in(server)
    headers = STREAM | {"Cookie": f"{cookie}; csrftoken={CSRF}", "X-CSRFToken": CSRF}
    body = {"name": "stream", "data": {"pause": 0.02}}
    with ask(server, body=body, headers=headers) as response:
        assert response.status == 200, response.read()
        frames = read_frames(response)
        session = next(frames)["session"]
        assert any(frame["type"] == "token" for frame in frames)
        log_out(server, cookie)
        rest = list(frames)
    assert rest[-1] == {"type": "error", "code": "unauthorized", "detail": "You were logged out."}
    assert {frame["type"] for frame in rest[:-1]} <= {"token"}
    # The turn goes on without its reader.
    assert server.database.session(session)["running"] == 1
    told(server, body={"name": "unblock", "data": session})

"""A conversation that was begun without a login goes on after it, for that user alone."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from tests.support.sessions import until

from .client import ClientOf
from .harness import Server
from .requests import fetch


def request(server: Server, path: str, cookie: str = "", **data: str) -> tuple[int, str]:
    """The status of an answer, and the cookie of the browser after it."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
    method = "POST" if data else "GET"
    answer, _ = fetch(server, method, f"/{path}/", urlencode(data), **form)
    given = [one.partition(";")[0] for one in answer.headers.get_all("Set-Cookie") or []]
    return answer.status, next((one for one in given if one.startswith("sessionid=")), cookie)


async def test_an_anonymous_conversation_goes_on_after_the_login(
    server: Server, client_of: ClientOf
) -> None:
    _, before = await asyncio.to_thread(request, server, "visit")
    tab = await client_of(server, "visitors", cookie=before).start()
    await tab.message("one")
    assert await tab.outcome(1) == "done"
    stranger = client_of(server, "visitors")
    stranger.session, stranger.token = tab.session, tab.token
    # The login form is on the page itself: the line is open meanwhile.
    _, after = await asyncio.to_thread(request, server, "log-in", before, name="grace")
    assert after != before
    assert await tab.closed() == 4000, "a line that is anonymous has it no more"
    session, token = tab.session, tab.token
    # The page is quicker than the answer to its login: it is asked to come back, and loses nothing.
    await tab.knock(received=0)
    assert await tab.closed() == 4000
    assert (tab.session, tab.token) == (session, token)
    # It is reloaded, as who has logged in.
    tab.cookie = after
    welcome = await tab.resume(received=0)
    assert (welcome["session"], welcome["resumed"]) == (session, True)
    assert welcome["token"] != token
    await until(lambda: tab.received >= welcome["head"])
    assert [seen.data["content"] for seen in tab.entries.values() if seen.n] == ["one"]
    await tab.message("two")
    assert await tab.outcome(2) == "done"
    assert server.database.session(session)["user_id"] == server.database.user_id("grace")
    # For nobody else: not by the old token once the login has been answered, and for no other user.
    server.database.update_session(session, assigned_at="2000-01-01 00:00:00")
    assert not (await stranger.resume(received=0))["resumed"]
    other = client_of(server, "visitors", cookie=server.login("eve"))
    other.session, other.token = session, token
    assert not (await other.resume(received=0))["resumed"]
    # And it is given to nobody else.
    status, _ = await asyncio.to_thread(request, server, "assign", name="eve", session=session)
    assert status == 409
    await tab.ping()

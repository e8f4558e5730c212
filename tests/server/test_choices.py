"""Questions, actions and settings over the wire: reload, another connection, a killed server."""

from __future__ import annotations

from .client import Client, ClientOf, assert_whole
from .harness import Server


async def asked(client: Client, content: str) -> tuple[int, str]:
    """Ask the bot to ask: the turn, and the question."""
    since = client.here
    n = await client.message(content)
    frame = await client.until({"type": "event", "name": "ask"}, since=since)
    assert frame["data"]["content"] == content
    return n, frame["data"]["call"]


async def test_a_question_is_answered_after_a_reload(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "choosy").start()
    n, call = await asked(client, "your name?")
    await client.drop()
    since = client.here
    await client.resume(received=0)  # a reloaded page: everything once more
    await client.until({"type": "event", "name": "ask"}, since=since)
    assert client.welcome is not None
    assert client.welcome["turn"] == n
    await client.answer(call, {"content": "Ada"})
    await client.said("heard Ada")
    # One that never arrived is sent again.
    _, call = await asked(client, "and his?")
    await client.answer(call, {"content": "Charles"})
    await client.drop()
    await client.resume()
    await client.said("heard Charles")
    await assert_whole(client, server.database)


async def test_a_server_that_is_killed_while_it_waits_for_an_answer(
    server: Server, client_of: ClientOf
) -> None:
    """The question is cancelled, its turn interrupted; what was offered before still is."""
    client = await client_of(server, "choosy").start()
    await client.said("offer")
    n, call = await asked(client, "your name?")
    await client.event("settings", {"size": 5})
    await client.outcome(n + 1)
    server.kill()
    await client.closed()
    server.start()
    await client.resume()
    await client.until({"type": "event", "name": "ask_closed"})
    await client.until({"type": "turn", "turn": n, "status": "interrupted"})
    late = await client.answer(call, {"content": "Ada"})
    error = await client.until({"type": "error", "code": "call_closed"})
    assert error["n"] == late
    await client.event("settings", {"size": 6})
    assert await client.outcome(late + 1) == "done"
    pressed = await client.event("action", {"id": "count", "name": "count", "payload": {"by": 2}})
    assert await client.outcome(pressed) == "done"
    row = server.database.session(client.session)
    assert server.database.state(client.session) == {"counted": 2}
    assert (row["asks"], row["handled_ahead"]) == ("[]", "[]")

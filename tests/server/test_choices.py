"""Questions, actions and settings over the wire: reload, another connection, a killed server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .client import Client, assert_whole
from .harness import Server

ClientOf = Callable[..., Client]
StartServer = Callable[..., Server]


async def asked(client: Client, content: str) -> tuple[int, str]:
    """Ask the bot to ask: the turn, and the question."""
    n = await client.message(content)
    frame = await client.until({"type": "event", "name": "ask"})
    assert frame["data"]["content"] == content
    return n, frame["data"]["call"]


async def test_a_question_is_answered_after_a_reload(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "choosy").start()
    n, call = await asked(client, "your name?")
    await client.drop()
    await client.resume(received=0)  # a reloaded page: everything once more
    await client.until({"type": "event", "name": "ask"})
    assert client.welcome is not None
    assert client.welcome["turn"] == n
    await client.answer(call, {"content": "Ada"})
    await client.said("heard Ada")
    await assert_whole(client, server.database)


async def test_an_answer_that_never_arrived_is_sent_again(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "choosy").start()
    _, call = await asked(client, "your name?")
    await client.answer(call, {"content": "Ada"})
    await client.drop()
    await client.resume()
    await client.said("heard Ada")
    await assert_whole(client, server.database)


async def test_what_does_not_fit_takes_no_number(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "choosy").start()
    await client.said("offer")
    n, call = await asked(client, "?")
    refused = [
        ({"type": "answer", "n": n + 1, "call": call, "data": {"text": "?"}}, "bad_frame"),
        (_event(n + 1, "action", {"id": "made up", "name": "count"}), "forbidden"),
        (_event(n + 1, "action", {"id": 3}), "bad_frame"),
        (_event(n + 1, "settings", {"size": 10}), "bad_frame"),
        (_event(n + 1, "settings", {"none": 1}), "bad_frame"),
    ]
    for frame, code in refused:
        await client.send(frame)
        error = await client.until({"type": "error", "code": code}, since=client.here)
        assert error["n"] == n + 1
    await client.event("action", {"id": "count", "name": "count", "payload": {"by": 99}})
    await client.outcome(n + 1)
    await client.answer(call, {"content": "yes"})
    await client.said("heard yes")
    assert server.database.state(client.session or "") == {"counted": 2}
    client.sent[n + 1].data["payload"] = {"by": 2}  # stored is what was offered


def _event(n: int, name: str, data: object) -> dict[str, object]:
    return {"type": "event", "n": n, "name": name, "data": data}


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_a_server_that_is_killed_while_it_waits_for_an_answer(
    start_server: StartServer, client_of: ClientOf, kind: str
) -> None:
    """The question is cancelled, its turn interrupted; what was offered before still is."""
    server = start_server(kind=kind)
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
    await client.outcome(late + 1)
    await assert_whole(client, server.database, state={})
    row = server.database.session(client.session or "")
    assert (row["asks"], row["handled_ahead"]) == ("[]", "[]")

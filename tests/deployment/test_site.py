"""Two workers behind nginx that takes turns: nobody notices which one they talk to."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus

from demo_project.bots import storyteller
from tests.faults.cluster.postgres import Postgres
from tests.server.client import Client
from tests.support.sessions import until

from .conftest import Site, environment, prepare

ClientOf = Callable[..., Client]

pytestmark = pytest.mark.server


async def say(client: Client) -> str:
    """Send a message; the answer to it."""
    assert await client.outcome(await client.message("hello"), timeout=60) == "done"
    return client.contents[-1]


async def come_back(client: Client) -> None:
    """Through nginx, as often as it takes."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.close()
                welcome = await client.resume()
            except (OSError, AssertionError, TimeoutError, InvalidStatus):  # nginx's 502 among them
                await asyncio.sleep(0.1)
            else:
                break
    assert welcome["resumed"], welcome


async def talking(site: Site, client_of: ClientOf, count: int = 4) -> list[Client]:
    """Clients that have said something, half of them to each worker."""
    await both_have_a_turn(site, client_of)
    clients = [await client_of(site).start() for _ in range(count)]
    for client in clients:
        assert await say(client) == "You have sent 1 message(s)!"
    owners = sorted(site.owner(client.session) or 0 for client in clients)
    assert owners == sorted([site.daphne.pid, site.uvicorn.pid] * (count // 2))
    return clients


async def both_have_a_turn(site: Site, client_of: ClientOf) -> None:
    """Wait until nginx has forgotten that one of them was away."""
    owners: list[int | None] = []
    async with asyncio.timeout(10):
        while len(set(owners[-2:])) < 2:
            client = await client_of(site).start()
            await say(client)
            owners.append(site.owner(client.session))
            await client.close()


async def test_a_worker_is_restarted_and_another_one_killed(
    site: Site, client_of: ClientOf
) -> None:
    """
    As in a deploy: the clients of the first are told to come back, and are with the other one at
    once. Those of a worker that is killed notice by themselves.
    """
    clients = await talking(site, client_of)
    theirs = [client for client in clients if site.owner(client.session) == site.uvicorn.pid]
    await asyncio.to_thread(site.uvicorn.stop)
    try:
        for client in theirs:
            assert await client.closed() == 4000
            await come_back(client)
        for client in clients:
            assert await say(client) == "You have sent 2 message(s)!"
        rows = site.query("SELECT pid FROM chatsessions_worker")
        assert [row["pid"] for row in rows] == [site.daphne.pid]
    finally:
        site.uvicorn.start()

    site.daphne.kill()
    try:
        for client in clients:
            await client.closed()
            await come_back(client)
            assert await say(client) == "You have sent 3 message(s)!"
            assert site.owner(client.session) == site.uvicorn.pid
            assert client.problems == []
    finally:
        site.daphne.start()


@pytest.mark.slow
@pytest.mark.parametrize("site", ["pubsub", "core"], indirect=True)
async def test_a_story_goes_on_when_its_listener_is_with_another_worker(
    site: Site, client_of: ClientOf
) -> None:
    """The turn runs on one worker, the connection is with the other."""
    client = await client_of(site, "storyteller", port=site.daphne.port).start()
    turn = await client.message("a hat")
    await client.until({"type": "token"}, timeout=60)
    await client.drop()
    client.url = site.url("storyteller", port=site.uvicorn.port)
    assert (await client.resume())["resumed"]
    assert site.owner(client.session) == site.daphne.pid
    assert await client.outcome(turn, timeout=60) == "done"
    assert client.contents[-1].startswith("A story about a hat.")
    assert client.problems == []
    # Then it moves to where its client is.
    await until(lambda: site.owner(client.session) == site.uvicorn.pid)
    begun = client.here
    turn = await client.message("a coat")
    await client.until({"type": "token", "index": 2}, timeout=60, since=begun)
    await client.stop()
    assert await client.outcome(turn) == "stopped"


@pytest.mark.slow  # threads that have read end after a minute, with their connections
async def test_what_the_page_says_of_a_workers_connections(site: Site, client_of: ClientOf) -> None:
    """No more than two of PostgreSQL's while nothing goes on, for each worker."""
    clients = await talking(site, client_of, count=8)
    for client in clients:
        await say(client)

    def as_said() -> bool:
        [row] = site.query(
            "SELECT count(*) AS held FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return bool(row["held"] <= 4)

    await until(as_said, seconds=90)


# What nginx passes on


async def test_the_address_of_a_client_is_its_own(site: Site, client_of: ClientOf) -> None:
    """Whatever it says that it is."""
    for _ in ("daphne", "uvicorn"):
        client = client_of(site)
        await client.connect(additional_headers={"X-Forwarded-For": "203.0.113.9"})
        await client.hello()
        await say(client)
        [row] = site.query(
            "SELECT ip::text FROM chatsessions_chatsession WHERE id = %s", client.session
        )
        assert row["ip"].startswith("127.0.0.1")


async def test_a_file_that_is_larger_than_nginx_lets_through_by_itself(
    site: Site, client_of: ClientOf
) -> None:
    client = await client_of(site, "shelf").start()
    content = b"%PDF-1.7\n" + bytes(3 * 2**20)
    request = urllib.request.Request(  # noqa: S310  # of our own
        f"{site.origin}/chats/{client.session}/files/",
        data=content,
        headers={
            "Authorization": f"Bearer {client.token}",
            "Content-Type": "application/pdf",
            "X-File-Name": "large.pdf",
        },
    )

    def upload() -> dict[str, object]:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            found: dict[str, object] = json.loads(answer.read())
            return found

    await asyncio.to_thread(upload)
    [row] = site.query(
        "SELECT size FROM chatsessions_sessionfile WHERE session_id = %s", client.session
    )
    assert row["size"] == len(content)


def test_the_administrator_logs_in(site: Site) -> None:
    """The form's origin is compared with the host, its port included."""
    password = (site.folder / "admin_password").read_text()
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    browser.addheaders = [("Origin", site.origin), ("Referer", f"{site.origin}/admin/login/")]
    login = f"{site.origin}/admin/login/?next=/admin/"
    browser.open(login, timeout=60)
    [token] = [cookie.value or "" for cookie in jar if cookie.name == "csrftoken"]
    fields = {"username": "admin", "password": password, "csrfmiddlewaretoken": token}
    with browser.open(login, urlencode(fields).encode(), timeout=60) as answer:
        assert answer.url == f"{site.origin}/admin/"
        assert "Log out" in answer.read().decode()


# The start


@pytest.mark.slow
def test_several_that_are_prepared_at_once(
    tmp_path: Path, postgres: Postgres, database_url: str, redis_url: str
) -> None:
    """One migrates, and makes the administrator; the others wait, and find everything."""
    name = database_url.rpartition("/")[2]
    starting = [prepare(environment(tmp_path, postgres, name, redis_url)) for _ in range(3)]
    said = [process.communicate(timeout=100)[0] for process in starting]
    assert [process.returncode for process in starting] == [0, 0, 0], said
    [login] = {text.strip() for text in said}
    assert login == f"Log in as   admin / {(tmp_path / 'admin_password').read_text()}"
    with postgres.connect(name) as connection:
        rows = connection.execute("SELECT is_superuser FROM auth_user").fetchall()
        assert rows == [{"is_superuser": True}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin_password", "secret_key"]


def test_an_administrator_who_is_there_already_keeps_their_password(
    site: Site, tmp_path: Path
) -> None:
    """Another host, with a folder of its own."""
    process = prepare(site.env | {"DEMO_DATA": str(tmp_path)})
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert "with the password that you know" in said
    assert not (tmp_path / "admin_password").exists()


# Processes of one server


@pytest.mark.slow
async def test_workers_of_one_uvicorn_that_are_all_told_to_stop_at_once(
    site: Site, client_of: ClientOf
) -> None:
    """As systemd does it; the parent tells its workers again."""
    site.uvicorn.stop()
    command = site.uvicorn.command
    site.uvicorn.command = [*command, "--workers", "2"]
    try:
        site.uvicorn.start()
        clients: list[Client] = []
        async with asyncio.timeout(15):
            # Each takes whoever comes while it has nothing else to do.
            while len({site.owner(client.session) for client in clients}) < 2:
                new = client_of(site, "storyteller", port=site.uvicorn.port)
                clients.append(await new.start())
        for client in clients:
            await client.message("a hat")
        story = list(storyteller._tokens("a hat", 0))
        for client in clients:
            await client.until({"type": "token", "index": len(story) // 2}, timeout=60)
        assert site.uvicorn.pid not in {site.owner(client.session) for client in clients}
        await asyncio.to_thread(site.uvicorn.stop, all_at_once=True)
        for client in clients:
            assert await client.closed() == 4000
            client.url = site.url("storyteller")
            await come_back(client)
            await client.caught_up()
            assert client.contents[-1] == "".join(story)
    finally:
        site.uvicorn.discard()
        site.uvicorn.command = command
        site.uvicorn.start()

"""Files and a real server: large ones, cut ones, and what a client may say of them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .client import Client, ClientOf
from .conftest import MIB, Servers
from .harness import Server
from .requests import fetch

pytestmark = pytest.mark.server


@pytest.fixture
def server(either: Server) -> Server:
    """Which reads bodies its own way."""
    return either


def files_of(server: Server) -> list[Path]:
    """What the server's storage has."""
    return [path for path in (server.folder / "files").rglob("*") if path.is_file()]


def upload(
    server: Server, client: Client, content: Any, *, size: int | None = None, way: str = "body"
) -> tuple[int, dict[str, Any]]:
    """Upload bytes, or ``size`` bytes that an iterator gives."""
    headers = {"Authorization": f"Bearer {client.token}", "X-File-Name": "data.bin"}
    headers["Content-Type"] = "application/octet-stream"
    parts = [content] if isinstance(content, bytes) else content
    size = len(content) if size is None else size
    before = after = b""
    if way == "form":
        before = b'--B\r\nContent-Disposition: form-data; name="file"; filename="data.bin"\r\n\r\n'
        after = b"\r\n--B--\r\n"
        headers["Content-Type"] = "multipart/form-data; boundary=B"
    headers["Content-Length"] = str(size + len(before) + len(after))

    def body() -> Iterator[bytes]:
        yield before
        yield from parts
        yield after

    path = f"/chats/{client.session}/files/"
    response, answer = fetch(server, "POST", path, body(), **headers)
    return response.status, json.loads(answer)


def download(server: Server, client: Client, file_id: str) -> tuple[int, bytes]:
    path = f"/chats/{client.session}/files/{file_id}/"
    response, content = fetch(server, "GET", path, Authorization=f"Bearer {client.token}")
    return response.status, content


async def test_a_file_goes_there_and_back(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "faulty").start()
    content = bytes(range(256)) * 4000
    for way in ("body", "form"):
        status, file = await asyncio.to_thread(upload, server, client, content, way=way)
        assert (status, file["size"]) == (201, len(content))
        assert await asyncio.to_thread(download, server, client, file["id"]) == (200, content)


async def test_an_upload_that_is_cut_in_the_middle_leaves_nothing(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "faulty").start()
    before = files_of(server)
    head = (
        f"POST /chats/{client.session}/files/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {client.token}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {MIB}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(head.encode() + b"x" * (MIB // 2))
    status, _ = await asyncio.to_thread(upload, server, client, b"whole")
    assert status == 201
    assert len(files_of(server)) == len(before) + 1
    assert len(server.database.query("SELECT id FROM chatsessions_sessionfile")) == len(
        files_of(server)
    )


async def test_a_file_that_is_too_large_leaves_nothing(server: Server, client_of: ClientOf) -> None:
    """By its length where the request says one; where it comes in chunks, once it is too long."""
    client = await client_of(server, "faulty").start()
    before = files_of(server)
    for way in ("body", "form"):
        content = b"x" * (2 * MIB + 1)
        status, answer = await asyncio.to_thread(upload, server, client, content, way=way)
        assert (status, answer["error"]) == (413, "too_large")
    path = f"/chats/{client.session}/files/"
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "text/plain"}
    chunks = iter([b"x" * MIB] * 3)
    response, said = await asyncio.to_thread(fetch, server, "POST", path, chunks, **headers)
    assert (response.status, json.loads(said)["error"]) == (413, "too_large")
    assert files_of(server) == before


@pytest.mark.slow
@pytest.mark.parametrize("way", ["body", "form"])
async def test_a_large_file_takes_no_memory(
    servers: Servers, client_of: ClientOf, way: str
) -> None:
    """Under uvicorn; daphne has a body in memory before any application is asked."""
    server = servers(kind="uvicorn")
    client = await client_of(server, "faulty").start()
    await asyncio.to_thread(upload, server, client, b"x" * MIB, way=way)
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    size = 96 * MIB
    highest = before

    def blocks() -> Iterator[bytes]:
        nonlocal highest
        for _ in range(size // MIB):
            yield b"x" * MIB
            highest = max(highest, process.memory_info().rss)

    transfer = asyncio.create_task(
        asyncio.to_thread(upload, server, client, blocks(), size=size, way=way)
    )
    while not transfer.done():
        highest = max(highest, process.memory_info().rss)
        await asyncio.sleep(0.01)
    status, file = await transfer
    assert (status, file["size"]) == (201, size)
    back = asyncio.create_task(asyncio.to_thread(download, server, client, file["id"]))
    while not back.done():
        highest = max(highest, process.memory_info().rss)
        await asyncio.sleep(0.01)
    assert len((await back)[1]) == size
    assert highest - before < size / 4

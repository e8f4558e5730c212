"""Uploads in slices and a real server: memory, cut lines, a server that is killed meanwhile."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.test_docs import page_module

from .client import Client
from .harness import Server, running
from .test_files import download, files_of, request

pytestmark = pytest.mark.server

ClientOf = Callable[..., Client]
StartServer = Callable[..., Server]
MIB = 1024 * 1024
SLICE = 4 * MIB


class Upload:
    """A file that a session's client brings to a server in slices."""

    def __init__(self, server: Server, client: Client, size: int) -> None:
        self.server = server
        self.size = size
        self.root = f"/chats/{client.session}/uploads/"
        self.headers = {"Authorization": f"Bearer {client.token}"}
        begun = self._ask("POST", self.root, json.dumps({"name": "data.bin", "size": size}))
        self.slice: int = begun["slice"]
        self.url = f"{self.root}{begun['upload']}/"

    def part(self, offset: int) -> bytes:
        """What the slice at ``offset`` has: each another content."""
        length = min(self.slice, self.size - offset)
        return (offset.to_bytes(8, "big") * (length // 8 + 1))[:length]

    def put(self, offset: int) -> int:
        """Bring the slice at ``offset``; how far it has come then."""
        told = self._ask("PUT", f"{self.url}?offset={offset}", self.part(offset))
        return int(told["offset"])

    def put_all(self, step: Callable[[], Any] = lambda: None) -> None:
        offset = 0
        while offset < self.size:
            offset = self.put(offset)
            step()

    def finish(self) -> dict[str, Any]:
        return self._ask("POST", self.url)

    def _ask(self, method: str, path: str, body: Any = b"") -> dict[str, Any]:
        headers = self.headers | {"Content-Type": "application/octet-stream"}
        status, answer = request(self.server, method, path, body, **headers)
        assert status in (200, 201), answer
        told: dict[str, Any] = json.loads(answer)
        return told


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    limit = {"UPLOAD_SLICE_BYTES": 256 * 1024}
    with running(kind=request.param, chatsessions=limit) as found:
        yield found


async def test_a_file_of_many_slices_goes_there_and_back(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "faulty").start()

    def run() -> tuple[int, bytes]:
        upload = Upload(server, client, 5 * 256 * 1024 + 7)
        upload.put_all()
        expected = b"".join(map(upload.part, range(0, upload.size, upload.slice)))
        status, content = download(server, client, upload.finish()["id"])
        assert content == expected
        return status, content

    assert (await asyncio.to_thread(run))[0] == 200


async def test_the_client_of_the_files_page(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "faulty").start()
    base = f"{server.origin}/chats/{client.session}/"
    content = bytes(range(256)) * 4000

    def run() -> tuple[int, bytes]:
        upload = page_module("files").upload
        file_id = upload(base, client.token, "a.bin", io.BytesIO(content), len(content))
        return download(server, client, file_id)

    assert await asyncio.to_thread(run) == (200, content)


async def test_more_than_a_slice_in_one_request_is_refused(
    server: Server, client_of: ClientOf
) -> None:
    """By its length where the request says one; where it comes in chunks, once it is too long."""
    client = await client_of(server, "faulty").start()
    before = files_of(server)
    path = f"/chats/{client.session}/files/"
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "text/plain"}
    content = b"x" * (256 * 1024 + 1)
    for body in (content, iter([content])):
        status, answer = await asyncio.to_thread(request, server, "POST", path, body, **headers)
        assert (status, json.loads(answer)["error"]) == (413, "slices_expected")
    assert files_of(server) == before


async def test_a_slice_that_is_cut_comes_again(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "faulty").start()

    def run() -> None:
        upload = Upload(server, client, 2 * 256 * 1024)
        before = set(files_of(server))
        upload.put(0)
        content = upload.part(upload.slice)
        head = (
            f"PUT {upload.url}?offset={upload.slice} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: {upload.headers['Authorization']}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(head.encode() + content[: len(content) // 2])
        assert upload.put(0) == upload.slice
        assert upload.put(upload.slice) == upload.size
        file = upload.finish()
        [stored] = set(files_of(server)) - before
        assert (stored.stat().st_size, file["size"]) == (upload.size, upload.size)

    await asyncio.to_thread(run)


async def test_an_upload_outlives_the_death_of_its_server(
    start_server: StartServer, client_of: ClientOf
) -> None:
    server = start_server(chatsessions={"UPLOAD_SLICE_BYTES": 256 * 1024})
    client = await client_of(server, "faulty").start()
    upload = await asyncio.to_thread(Upload, server, client, 3 * 256 * 1024)
    assert await asyncio.to_thread(upload.put, 0) == upload.slice
    server.restart()
    assert await asyncio.to_thread(upload.put, 0) == upload.slice
    await asyncio.to_thread(upload.put_all)
    file = await asyncio.to_thread(upload.finish)
    assert file["size"] == upload.size
    assert [path.stat().st_size for path in files_of(server)] == [upload.size]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_a_large_file_takes_no_memory(
    start_server: StartServer, client_of: ClientOf, kind: str
) -> None:
    """However large it is: there is never more than a slice or two of it in memory."""
    server = start_server(kind=kind)
    client = await client_of(server, "faulty").start()
    await asyncio.to_thread(lambda: Upload(server, client, 2 * SLICE).put_all())
    growth = await asyncio.to_thread(measure, server, client, 64 * MIB)
    assert growth < 24 * MIB


def measure(server: Server, client: Client, size: int) -> int:
    """Upload ``size`` bytes; by how much the server's memory has grown at the worst."""
    process = psutil.Process(server.pid)
    before = highest = process.memory_info().rss

    def look() -> None:
        nonlocal highest
        highest = max(highest, process.memory_info().rss)

    upload = Upload(server, client, size)
    assert upload.slice == SLICE
    upload.put_all(look)
    assert upload.finish()["size"] == size
    look()
    assert max(path.stat().st_size for path in files_of(server)) == size
    return highest - before

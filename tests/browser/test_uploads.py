"""Files that are larger than one request may be."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, Route, expect

from chatsessions.conf import Settings
from tests.server.harness import Server

from .chat import PATIENCE, Chat
from .test_contents import choose

pytestmark = pytest.mark.browser

SLICE = Settings.UPLOAD_SLICE_BYTES.default
#: Two slices and a bit, of a content that shows if one of them is missing or in another place.
FILM = FilePayload(
    name="film.bin",
    mimeType="application/octet-stream",
    buffer=b"".join(bytes([n]) * (SLICE // 2) for n in range(4)) + b"the end",
)


def sends(chat: Chat) -> None:
    """The file is up: the message goes, and what comes back is the file."""
    expect(chat.element.get_by_role("progressbar")).to_have_count(0, timeout=PATIENCE * 1000)
    expect(chat.element.locator("[part=attachment][data-failed]")).to_have_count(0)
    chat.say("a film")
    expect(chat.contents.last).to_contain_text(f"{len(FILM['buffer']):,} bytes")
    with chat.page.expect_download() as download:
        chat.log.get_by_role("link").last.click()
    assert download.value.path().read_bytes() == FILM["buffer"]


def left(server: Server, chat: Chat) -> int:
    """How many unfinished uploads the server has of the session."""
    found = server.database.query(
        "SELECT id FROM chatsessions_sessionupload WHERE session_id = ?",
        chat.session.replace("-", ""),
    )
    return len(found)


def test_a_large_file_goes_up_in_slices(server: Server, open_chat: Callable[..., Chat]) -> None:
    """No request brings more than a slice, and the bar tells of the whole file."""
    chat = open_chat("shelf")
    bodies: list[int] = []
    shares: list[float] = []
    bar = chat.element.get_by_role("progressbar", name="Uploading film.bin")

    def look(route: Route) -> None:
        if route.request.method == "PUT":
            bodies.append(len(route.request.post_data_buffer or b""))
            shares.append(bar.evaluate("bar => bar.value"))
        route.continue_()

    chat.page.route("**/uploads/**", look)
    choose(chat, "Attach files", FILM)
    sends(chat)
    assert bodies == [SLICE, SLICE, len(b"the end")]
    assert shares == pytest.approx([0, 0.5, 1], abs=0.01)
    assert left(server, chat) == 0


def test_a_line_that_breaks_in_mid_upload(server: Server, open_chat: Callable[..., Chat]) -> None:
    """It goes on from where it was by itself; nothing that has come is sent again."""
    chat = open_chat("shelf")
    offsets: list[str] = []

    def tear(route: Route) -> None:
        _, _, offset = route.request.url.partition("?offset=")
        offsets.append(offset)
        if offsets.count(str(SLICE)) in (1, 2) and offset == str(SLICE):
            route.abort("connectionreset")
        else:
            route.continue_()

    chat.page.route(re.compile(r"/uploads/.*offset="), tear)
    choose(chat, "Attach files", FILM)
    sends(chat)
    assert offsets == ["0", str(SLICE), str(SLICE), str(SLICE), str(2 * SLICE)]


def test_a_server_that_is_restarted_in_mid_upload(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """What it has it keeps, and the page brings the rest when it is back."""
    chat = open_chat("shelf")
    held: list[Route] = []
    pattern = re.compile(rf"offset={SLICE}$")
    chat.page.route(pattern, lambda route: held.append(route))
    with chat.page.expect_request(pattern):
        choose(chat, "Attach files", FILM)
    server.kill()
    chat.page.unroute(pattern)
    for route in held:
        route.abort("connectionreset")
    server.start()
    sends(chat)


def test_a_large_file_that_is_taken_back(server: Server, open_chat: Callable[..., Chat]) -> None:
    """In mid-upload, and by leaving the page: the server forgets what it has."""
    chat = open_chat("shelf")
    held: list[Route] = []
    chat.page.route(re.compile(rf"offset={SLICE}$"), lambda route: held.append(route))
    with chat.page.expect_request(re.compile(rf"offset={SLICE}$")):
        choose(chat, "Attach files", FILM)
    assert left(server, chat) == 1
    with chat.page.expect_response(lambda response: response.request.method == "DELETE"):
        chat.press("Remove film.bin")
    expect(chat.element.get_by_role("list", name="Files to send")).to_be_hidden()
    assert left(server, chat) == 0
    with chat.page.expect_request(re.compile(rf"offset={SLICE}$")):
        choose(chat, "Attach files", FILM)
    session = chat.session
    chat.reload()
    chat.is_("Online")
    assert chat.session == session
    while left(server, chat):  # the browser asks for it when the page is gone; pytest has a timeout
        chat.page.wait_for_timeout(50)


def test_a_file_that_is_not_what_it_says_is_refused_early(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """With its first slice, and the page says why."""
    chat = open_chat("shelf")
    asked: list[str] = []
    chat.page.on("request", lambda request: asked.append(request.method))
    fake = FilePayload(name="fake.png", mimeType="image/png", buffer=b"<p>" * SLICE)
    choose(chat, "Attach files", fake)
    failed = chat.element.locator("[part=attachment][data-failed]")
    expect(failed).to_contain_text("fake.png")
    assert asked.count("PUT") == 1
    assert left(server, chat) == 0

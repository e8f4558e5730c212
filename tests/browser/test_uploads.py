"""Large files: how far they are, taken back, broken off and tried again."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, expect

from tests.server.harness import Server

from .chat import PATIENCE, Chat
from .test_contents import FAKE, PICTURE, choose

pytestmark = pytest.mark.browser

MIB = 1024 * 1024
#: Of a content that shows if some of it is missing or in another place.
FILM = FilePayload(
    name="film.bin",
    mimeType="application/octet-stream",
    buffer=b"".join(bytes([n]) * MIB for n in range(4)) + b"the end",
)


def slow_down(chat: Chat, rate: int) -> None:
    """Send at most ``rate`` bytes a second; -1 is as fast as it goes."""
    session = chat.page.context.new_cdp_session(chat.page)
    session.send("Network.enable")
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
    session.send("Network.emulateNetworkConditions", conditions | {"uploadThroughput": rate})


def begin(chat: Chat) -> None:
    """Choose the film, and wait until some of it is up."""
    slow_down(chat, MIB)
    choose(chat, "Attach files", FILM)
    bar = chat.element.get_by_role("progressbar", name="Uploading film.bin")
    some = "bar => bar.value > 0 && bar.value < 1"
    chat.page.wait_for_function(some, arg=bar.element_handle())


def sends(chat: Chat) -> None:
    """The file is up: the message goes, and what comes back is the file."""
    expect(chat.element.get_by_role("progressbar")).to_have_count(0, timeout=PATIENCE * 1000)
    expect(chat.element.locator("[part=attachment][data-failed]")).to_have_count(0)
    chat.say("a film")
    expect(chat.contents.last).to_contain_text(f"{len(FILM['buffer']):,} bytes")
    with chat.page.expect_download() as download:
        chat.log.get_by_role("link").last.click()
    assert download.value.path().read_bytes() == FILM["buffer"]


def stored(server: Server, chat: Chat) -> int:
    """How many files the server has of the session, each with its row."""
    session = chat.session.replace("-", "")
    rows = server.database.query(
        "SELECT id FROM chatsessions_sessionfile WHERE session_id = ?", session
    )
    contents = list((server.folder / "files" / "chatsessions" / session).glob("*"))
    assert len(rows) == len(contents)
    return len(rows)


def requests_of(chat: Chat) -> list[str]:
    """The requests of the page from now on, but for what it reads."""
    seen: list[str] = []
    chat.page.on("request", lambda one: seen.append(one.method) if one.method != "GET" else None)
    return seen


def test_a_picture_is_seen_before_it_is_sent(open_chat: Callable[..., Chat]) -> None:
    """A small one of its own; what cannot be shown has the sign of any file."""
    chat = open_chat("shelf")
    choose(chat, "Attach files", PICTURE, FAKE, {**FAKE, "mimeType": "text/plain"})
    attached = chat.element.locator("[part=attachment]")
    expect(attached).to_have_count(3)
    picture = attached.nth(0).locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [40, 30]
    expect(attached.locator("img")).to_have_count(1)
    expect(attached.nth(0).locator("svg[part=icon]")).to_have_count(1)  # of the button
    expect(attached.nth(1).locator("svg[part=icon]")).to_have_count(2)


@pytest.mark.slow
def test_a_large_file_goes_up_in_one_request(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """While it does, the bar tells how far it is."""
    chat = open_chat("shelf")
    asked = requests_of(chat)
    begin(chat)
    sends(chat)
    assert asked == ["POST"]
    assert stored(server, chat) == 1


@pytest.mark.slow
def test_a_server_that_dies_in_mid_upload(server: Server, open_chat: Callable[..., Chat]) -> None:
    """It is said of the file, nothing of it is left, and another try brings it from the start."""
    chat = open_chat("shelf")
    asked = requests_of(chat)
    begin(chat)
    server.kill()
    failed = chat.element.locator("[part=attachment][data-failed]")
    expect(failed).to_contain_text("The connection was lost.")
    server.start()
    assert stored(server, chat) == 0
    chat.press("Try again")
    sends(chat)
    assert asked == ["POST", "POST"]
    assert stored(server, chat) == 1


def test_a_large_file_that_is_taken_back(server: Server, open_chat: Callable[..., Chat]) -> None:
    """In mid-upload: the request is cut, and nothing of it is left."""
    chat = open_chat("shelf")
    begin(chat)
    with chat.page.expect_event("requestfailed", lambda one: one.url.endswith("/files/")):
        chat.press("Remove film.bin")
    expect(chat.element.get_by_role("list", name="Files to send")).to_be_hidden()
    chat.say("nothing with it")
    expect(chat.contents.last).to_have_text("There is no file in that. I keep nothing else.")
    assert stored(server, chat) == 0


def test_a_file_that_is_larger_than_the_server_takes(open_chat: Callable[..., Chat]) -> None:
    """The page knows before it sends anything; where it does not, it says what a server says."""
    chat = open_chat("shelf")
    assert chat.element.get_attribute("max-file-bytes") == str(100 * MIB)
    asked = requests_of(chat)
    chat.element.evaluate("e => e.setAttribute('max-file-bytes', 3.5 * 1024 ** 2)")
    choose(chat, "Attach files", FILM)
    alert = chat.element.get_by_role("alert")
    expect(alert).to_have_text(re.compile("film.bin.* is larger than 3.5 MB"))
    assert asked == []
    chat.element.evaluate("e => e.removeAttribute('max-file-bytes')")
    chat.page.route("**/files/", lambda route: route.fulfill(status=413, body="<p>a proxy</p>"))
    choose(chat, "Attach files", FILM)
    failed = chat.element.locator("[part=attachment][data-failed]")
    expect(failed).to_contain_text("The file is too large.")

"""Files: chosen, dropped, pasted, asked for, and large ones on their way."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, FilePayload, expect

from tests.server.harness import Server
from tests.support.files import png

from .chat import Chat

pytestmark = pytest.mark.browser


PICTURE = FilePayload(name="sea.png", mimeType="image/png", buffer=png(40, 30))
#: It says that it is a picture.
FAKE = FilePayload(name="fake.png", mimeType="image/png", buffer=b"<script>alert(1)</script>")
#: A name that tries to look like another, and to be markup.
TRICKY = FilePayload(name="\u202etxt.<b>exe", mimeType="text/plain", buffer=b"plain text\n")


MIB = 1024 * 1024
#: Of a content that shows if some of it is missing or in another place.
FILM = FilePayload(
    name="film.bin",
    mimeType="application/octet-stream",
    buffer=b"".join(bytes([n]) * MIB for n in range(4)) + b"the end",
)


def drop(chat: Chat, file: FilePayload) -> None:
    """Let go of a file over the chat."""
    transfer = chat.page.evaluate_handle(
        """({ name, text, type }) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([text], name, { type }));
          return transfer;
        }""",
        {"name": file["name"], "text": file["buffer"].decode(), "type": file["mimeType"]},
    )
    where = chat.element.locator("[part=messages]")
    for event in ("dragenter", "dragover", "drop"):
        where.dispatch_event(event, {"dataTransfer": transfer})


def test_a_message_with_files(open_chat: Callable[..., Chat]) -> None:
    """
    Files that are chosen and dropped go with the message. Pictures are shown, others are links
    that bring them. All of it is there after a reload.
    """
    chat = open_chat("shelf")
    fetched: list[str] = []
    chat.page.on(
        "request", lambda request: fetched.append(request.url) if request.method == "GET" else None
    )
    # A picture is seen before it is sent; what cannot be shown has the sign of any file.
    chat.attach(PICTURE, FAKE, {**TRICKY, "name": "plain.txt"})
    attached = chat.element.locator("[part=attachment]")
    expect(attached).to_have_count(3)
    picture = attached.nth(0).locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [40, 30]
    expect(attached.locator("img")).to_have_count(1)
    expect(attached.nth(0).locator("svg[part=icon]")).to_have_count(1)  # of the button
    for nth in (1, 2):
        expect(attached.nth(nth).locator("svg[part=icon]")).to_have_count(2)

    # One that the server refuses is told; the others and the message can go without it.
    failed = chat.element.locator("[part=attachment][data-failed]")
    expect(failed).to_contain_text("fake.png")
    expect(failed.get_by_role("button", name="Try again")).to_be_visible()
    tray = chat.element.get_by_role("list", name="Files to send")
    expect(tray.get_by_role("progressbar")).to_have_count(0)
    chat.say("go")
    expect(chat.element.get_by_role("alert")).to_contain_text("could not be uploaded")
    expect(chat.input).to_have_value("go")
    chat.press("Remove fake.png")
    chat.press("Remove plain.txt")

    drop(chat, FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"plain text\n"))
    expect(tray.get_by_role("listitem")).to_have_count(2)
    expect(tray.get_by_role("progressbar")).to_have_count(0)
    chat.say("two files")
    expect(tray).to_be_hidden()
    expect(chat.contents.last).to_have_text(re.compile(r"sea\.png: image/png, \d+ bytes"))
    images = chat.log.locator("[part=image]")
    expect(images).to_have_count(2)
    # It is fetched once, however often it is shown.
    files = [url for url in fetched if "/files/" in url]
    assert files
    assert len(files) == len(set(files))
    for _ in range(2):
        links = chat.log.get_by_role("link")
        expect(links).to_have_count(4)
        expect(images).to_have_count(2)
        expect(links.nth(1)).to_contain_text("notes.txt")
        with chat.page.expect_download() as download:
            links.nth(1).click()
        assert download.value.suggested_filename == "notes.txt"
        assert download.value.path().read_bytes() == b"plain text\n"
        chat.reload()


#: Puts what a person has copied into the clipboard: a picture, and a text if there is one.
COPY = """async ({ picture, text }) => {
  const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
  const parts = { "image/png": new Blob([bytes], { type: "image/png" }) };
  if (text) parts["text/plain"] = new Blob([text], { type: "text/plain" });
  await navigator.clipboard.write([new ClipboardItem(parts)]);
}"""


def test_a_picture_is_pasted(
    server: Server, context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """
    From the clipboard into the message box: it goes with the message. A table, which is copied
    as a text and as a picture of it, is the text that was meant; and where messages have no files
    nothing happens.
    """
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.origin)
    chat = open_chat("shelf")
    chat.is_("Online")
    picture = b64encode(PICTURE["buffer"]).decode()
    tray = chat.element.get_by_role("list", name="Files to send")

    chat.page.evaluate(COPY, {"picture": picture, "text": "a\tb"})
    chat.input.press("Control+V")
    expect(chat.input).to_have_value("a\tb")
    expect(tray).to_be_hidden()

    chat.page.evaluate(COPY, {"picture": picture})
    chat.input.press("Control+V")
    chat.input.press("Control+V")
    expect(tray.get_by_role("listitem")).to_have_count(2)
    expect(tray.get_by_role("progressbar")).to_have_count(0)
    expect(chat.input).to_have_value("a\tb")
    chat.input.press("Enter")
    expect(chat.contents.last).to_have_text(re.compile(r"(image\.png: image/png, .*\s*){2}"))
    expect(chat.log.locator("[part=image]")).to_have_count(4)

    other = open_chat("counter")
    other.is_("Online")
    other.input.press("Control+V")
    expect(other.input).to_have_value("")
    expect(other.element.get_by_role("list", name="Files to send")).to_be_hidden()


def test_a_question_for_files(open_chat: Callable[..., Chat]) -> None:
    """
    The field says what is wanted and takes nothing else; what was given stands there. It takes
    another choice after a chooser that was cancelled, a wrong or refused file, a change of mind.
    """
    chat = open_chat("shelf")
    chat.press("Ask me for pictures")
    expect(chat.element.get_by_text("At most 3 files, up to 2 MB each")).to_be_visible()
    chat.reload()
    chat.attach(PICTURE, button="Choose files")
    chat.press("Send files")
    expect(chat.contents.last).to_contain_text("sea.png: image/png")
    expect(chat.element.get_by_role("button", name="Choose files")).to_have_count(0)
    expect(chat.log.locator("[part~=own]").get_by_role("link")).to_contain_text("sea.png")

    chat = open_chat(path="/with-files/")
    chat.element.evaluate("element => element.client.send('picture')")
    listed = chat.element.get_by_role("list", name="Files to send").get_by_role("listitem")
    alert = chat.element.get_by_role("alert")
    one = "Choose a file"
    chat.attach(button=one)  # nothing, as who presses Escape
    expect(listed).to_have_count(0)
    chat.attach(TRICKY, button=one)
    expect(alert).to_contain_text("not a kind of file")
    large = FilePayload(name="large.png", mimeType="image/png", buffer=png() + bytes(2 * MIB))
    chat.attach(large, button=one)
    expect(alert).to_contain_text("is larger than 2 MB.")
    chat.attach(FAKE, button=one)
    expect(listed).to_contain_text("fake.png")
    expect(listed).to_have_attribute("data-failed", "")
    lake = FilePayload(name="lake.png", mimeType="image/png", buffer=png(20, 10))
    for picture in (PICTURE, lake):
        chat.attach(picture, button=one)
        expect(listed).to_have_count(1)
        expect(listed).to_contain_text(picture["name"])
    chat.press("Send files")
    expect(chat.contents.last).to_have_text(f"lake.png, {len(lake['buffer'])} bytes")


def slow_down(chat: Chat, rate: int) -> None:
    """Send at most ``rate`` bytes a second; -1 is as fast as it goes."""
    session = chat.page.context.new_cdp_session(chat.page)
    session.send("Network.enable")
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
    session.send("Network.emulateNetworkConditions", conditions | {"uploadThroughput": rate})


def stored(server: Server, chat: Chat) -> int:
    """How many files the server has of the session, each with its row."""
    session = chat.session.replace("-", "")
    rows = server.database.query(
        "SELECT id FROM chatsessions_sessionfile WHERE session_id = ?", session
    )
    contents = list((server.folder / "files" / "chatsessions" / session).glob("*"))
    assert len(rows) == len(contents)
    return len(rows)


def test_a_large_file_that_is_too_large_or_taken_back(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """
    The page knows of a limit before it sends anything; where it does not, it says what a server
    says. In mid-upload the request is cut, and nothing of the file is left.
    """
    chat = open_chat("shelf")
    assert chat.element.get_attribute("max-file-bytes") == str(100 * MIB)
    asked: list[str] = []
    chat.page.on("request", lambda one: asked.append(one.method))
    chat.element.evaluate("e => e.setAttribute('max-file-bytes', 3.5 * 1024 ** 2)")
    chat.attach(FILM)
    alert = chat.element.get_by_role("alert")
    expect(alert).to_have_text(re.compile("film.bin.* is larger than 3.5 MB"))
    assert "POST" not in asked
    chat.element.evaluate("e => e.removeAttribute('max-file-bytes')")
    chat.page.route("**/files/", lambda route: route.fulfill(status=413, body="<p>a proxy</p>"))
    chat.attach(FILM)
    failed = chat.element.locator("[part=attachment][data-failed]")
    expect(failed).to_contain_text("The file is too large.")
    chat.press("Remove film.bin")
    chat.page.unroute_all()

    slow_down(chat, MIB)
    chat.attach(FILM)
    bar = chat.element.get_by_role("progressbar", name="Uploading film.bin")
    some = "bar => bar.value > 0 && bar.value < 1"
    chat.page.wait_for_function(some, arg=bar.element_handle())
    chat.say("too early")
    expect(alert).to_contain_text("still being uploaded")
    with chat.page.expect_event("requestfailed", lambda one: one.url.endswith("/files/")):
        chat.press("Remove film.bin")
    expect(chat.element.get_by_role("list", name="Files to send")).to_be_hidden()
    chat.say("nothing with it")
    expect(chat.contents.last).to_have_text("There is no file in that. I keep nothing else.")
    assert stored(server, chat) == 0

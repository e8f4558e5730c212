"""Files, profiles, keys, and pages around a frame."""

from __future__ import annotations

import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Page, Route, expect

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser


def png(width: int = 40, height: int = 30) -> bytes:
    """A small picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    row = b"\0" + b"".join(bytes([x * 6 % 256, 90, 160]) for x in range(width))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(row * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


PICTURE = FilePayload(name="sea.png", mimeType="image/png", buffer=png())
#: It says that it is a picture.
FAKE = FilePayload(name="fake.png", mimeType="image/png", buffer=b"<script>alert(1)</script>")
#: A name that tries to look like another, and to be markup.
TRICKY = FilePayload(name="\u202etxt.<b>exe", mimeType="text/plain", buffer=b"plain text\n")


def choose(chat: Chat, button: str, *files: FilePayload) -> None:
    with chat.page.expect_file_chooser() as chooser:
        chat.press(button)
    chooser.value.set_files(files)


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
    that bring them; a name is text, whatever it is. All of it is there after a reload.
    """
    chat = open_chat("shelf")
    choose(chat, "Attach files", PICTURE)
    drop(chat, FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"plain text\n"))
    tray = chat.element.get_by_role("list", name="Files to send")
    expect(tray.get_by_role("listitem")).to_have_count(2)
    expect(tray.get_by_role("progressbar")).to_have_count(0)
    chat.say("two files")
    expect(tray).to_be_hidden()
    expect(chat.contents.last).to_have_text(re.compile(r"sea\.png: image/png, \d+ bytes"))
    for _ in range(2):
        links = chat.log.get_by_role("link")
        expect(links).to_have_count(4)
        expect(chat.log.locator("[part=image]")).to_have_count(2)
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
    picture = b64encode(png()).decode()
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


def test_files_that_the_server_refuses(server: Server, open_chat: Callable[..., Chat]) -> None:
    """It is said of the file; the others and the message can go without it."""
    chat = open_chat("shelf")
    choose(chat, "Attach files", FAKE, PICTURE)
    failed = chat.element.locator("[part=attachment][data-failed]")
    expect(failed).to_contain_text("fake.png")
    expect(failed.get_by_role("button", name="Try again")).to_be_visible()
    chat.say("go")
    expect(chat.element.get_by_role("alert")).to_contain_text("could not be uploaded")
    expect(chat.input).to_have_value("go")
    chat.press("Remove fake.png")
    chat.say("go")
    expect(chat.contents.last).to_contain_text("sea.png")


def test_a_picture_that_is_sent_is_fetched_once(open_chat: Callable[..., Chat]) -> None:
    """However often it is shown: in the message that waits, in the one sent, in the answer."""
    chat = open_chat("shelf")
    fetched: list[str] = []
    chat.page.on(
        "request", lambda request: fetched.append(request.url) if request.method == "GET" else None
    )
    choose(chat, "Attach files", PICTURE)
    tray = chat.element.get_by_role("list", name="Files to send")
    expect(tray.get_by_role("progressbar")).to_have_count(0)
    chat.say("look")
    expect(chat.log.locator("[part=image]")).to_have_count(2)
    files = [url for url in fetched if "/files/" in url]
    assert files
    assert len(files) == len(set(files))


def test_a_question_for_files(open_chat: Callable[..., Chat]) -> None:
    """The field says what is wanted and takes nothing else; what was given stands there."""
    chat = open_chat("shelf")
    chat.press("Ask me for pictures")
    choose(chat, "Choose files", TRICKY)
    expect(chat.element.get_by_role("alert")).to_contain_text("not a kind of file")
    expect(chat.element.get_by_text("At most 3 files, up to 2 MB each")).to_be_visible()
    chat.reload()
    choose(chat, "Choose files", PICTURE)
    chat.press("Send files")
    expect(chat.contents.last).to_contain_text("sea.png: image/png")
    expect(chat.element.get_by_role("button", name="Choose files")).to_have_count(0)
    expect(chat.log.locator("[part~=own]").get_by_role("link")).to_contain_text("sea.png")


def test_a_question_for_a_file_takes_another_choice(open_chat: Callable[..., Chat]) -> None:
    """After a chooser that was cancelled, a wrong or refused file, and a change of mind."""
    chat = open_chat(path="/with-files/")
    chat.element.evaluate("element => element.client.send('picture')")
    expect(chat.element.get_by_text("up to 2 MB each")).to_be_visible()
    listed = chat.element.get_by_role("list", name="Files to send").get_by_role("listitem")
    choose(chat, "Choose a file")  # nothing, as who presses Escape
    expect(listed).to_have_count(0)
    choose(chat, "Choose a file", TRICKY)
    expect(chat.element.get_by_role("alert")).to_contain_text("not a kind of file")
    large = FilePayload(name="large.png", mimeType="image/png", buffer=png() + bytes(2 * 1024**2))
    choose(chat, "Choose a file", large)
    expect(chat.element.get_by_role("alert")).to_contain_text("is larger than 2 MB.")
    choose(chat, "Choose a file", FAKE)
    expect(listed).to_contain_text("fake.png")
    expect(listed).to_have_attribute("data-failed", "")
    choose(chat, "Choose a file", PICTURE)
    expect(listed).to_have_count(1)
    expect(listed).to_contain_text("sea.png")
    other = FilePayload(name="lake.png", mimeType="image/png", buffer=png(20, 10))
    choose(chat, "Choose a file", other)
    expect(listed).to_have_count(1)
    expect(listed).to_contain_text("lake.png")
    chat.press("Send files")
    expect(chat.contents.last).to_have_text(f"lake.png, {len(png(20, 10))} bytes")


def test_an_upload_that_is_cancelled(server: Server, open_chat: Callable[..., Chat]) -> None:
    """While a file goes up it can be taken back; a message waits for those on their way."""
    chat = open_chat("shelf")
    held: list[Route] = []
    chat.page.route("**/files/", lambda route: held.append(route))
    choose(chat, "Attach files", PICTURE)
    expect(chat.element.get_by_role("progressbar", name="Uploading sea.png")).to_be_visible()
    chat.say("too early")
    expect(chat.element.get_by_role("alert")).to_contain_text("still being uploaded")
    chat.press("Remove sea.png")
    expect(chat.element.get_by_role("list", name="Files to send")).to_be_hidden()
    chat.press("Send")
    expect(chat.contents.last).to_have_text("There is no file in that. I keep nothing else.")


def test_choosing_a_profile(server: Server, open_chat: Callable[..., Chat]) -> None:
    """Before it is chosen nothing begins; a reload keeps it, a new conversation asks again."""
    chat = open_chat("guide")
    group = chat.element.get_by_role("group", name="How would you like to begin?")
    expect(group.get_by_role("radio")).to_have_count(3)
    expect(group.get_by_role("radio", name="Flora")).to_be_checked()
    expect(group.get_by_role("radio", name="Max")).to_have_accessible_description("In a hurry.")
    expect(chat.input).to_be_hidden()
    assert chat.element.evaluate("e => e.client.session") is None
    group.get_by_role("radio", name="Flora").press("ArrowDown")
    chat.press("Start")
    expect(chat.input).to_be_focused()
    chat.say("Rome")
    expect(chat.contents.last).to_have_text("Rome! There and back by lunch, I know a short cut.")
    expect(chat.element.locator("[part=profile]")).to_have_text("Max")
    chat.reload()
    expect(chat.element.locator("[part=profile]")).to_have_text("Max")
    expect(chat.contents).to_have_count(3)
    chat.press("New conversation")
    expect(group.get_by_role("radio", name="Max")).to_be_checked()
    group.get_by_text("Dr. Stone").click()
    chat.press("Start")
    chat.say("Rome")
    expect(chat.contents.last).to_have_text("Rome rests on limestone. Bring a hammer.")


def test_a_profile_for_who_is_logged_in(
    server: Server, context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """The server says who may have which."""
    name, value = server.login("nina").split("=")
    context.add_cookies([{"name": name, "value": value, "url": server.origin}])
    chat = open_chat("guide")
    chat.element.get_by_role("radio", name="Nightingale").check()
    chat.press("Start")
    chat.say("Rome")
    expect(chat.contents.last).to_contain_text("after midnight")


def test_keys(server: Server, open_chat: Callable[..., Chat]) -> None:
    """What is missing is asked for, hidden while typed, kept in the tab alone, and can change."""
    chat = open_chat("vault")
    key = chat.element.get_by_label("API_KEY")
    expect(key).to_have_attribute("type", "password")
    expect(chat.input).to_be_hidden()
    key.fill("sesame-42")
    chat.element.get_by_label("REGION").fill("Bree")
    chat.press("Save and connect")
    chat.say("which?")
    expect(chat.contents.last).to_have_text("A key of 9 characters that ends in '42', for Bree.")
    chat.reload()
    chat.is_("Online")
    chat.press("Keys")
    within = chat.element.get_by_role("dialog", name="Keys")
    within.get_by_label("API_KEY").fill("other-7")
    within.get_by_role("button", name="Save and connect").click()
    chat.is_("Online")
    chat.say("which?")
    expect(chat.contents.last).to_have_text("A key of 7 characters that ends in '-7', for Bree.")
    everything = server.database.query("SELECT * FROM chatsessions_chatsession")
    everything += server.database.query("SELECT * FROM chatsessions_sessionevent")
    assert "sesame" not in str(everything)
    assert chat.page.evaluate("localStorage.length") == 0


def test_keys_of_another_tab(open_chat: Callable[..., Chat]) -> None:
    """Another tab is asked again."""
    one = open_chat("vault")
    one.element.get_by_label("API_KEY").fill("sesame-42")
    one.element.get_by_label("REGION").fill("Bree")
    one.press("Save and connect")
    one.is_("Online")
    two = open_chat("vault")
    expect(two.element.get_by_label("API_KEY")).to_have_value("")


@pytest.mark.parametrize("trusted", [True, False])
def test_a_page_around_a_frame(trusted: bool, server: Server, page: Page) -> None:
    """The page that is named is told and heard, each message once; one that is not, neither."""
    # Of one site, or the browser would let the frame remember nothing.
    inside, outside, elsewhere = (
        server.origin.replace("127.0.0.1", f"{name}.site.localhost")
        for name in ("chat", "shop", "elsewhere")
    )
    query = urlencode({"frame": inside, "named": outside if trusted else elsewhere})
    page.goto(f"{outside}/around/?{query}")
    chat = Chat(page, page.frame_locator("iframe").locator("chat-session"))
    chat.is_("Online")
    page.evaluate("frames[0].postMessage({ cart: ['hat'] }, '*')")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    expected: list[Any] = [[{"seen": {"cart": ["hat"]}}, inside]] if trusted else []
    page.wait_for_function("count => window.heard.length >= count", arg=len(expected))
    page.frames[1].evaluate("location.reload()")
    chat.shows("hello", "hello", "hello")
    assert page.evaluate("window.heard") == expected

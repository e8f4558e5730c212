"""Room for everything on a phone, and colours that can be read, by day and by night."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.server.harness import Server

from .chat import PATIENCE, Chat, Line, duplicate

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 640}
#: WCAG 2.2, 1.4.3 and 1.4.11: text, and what tells a control from what is around it.
TEXT, CONTROL = 4.5, 3.0

#: The colours of an element as the screen mixes them: of its text, its border, and beneath both.
COLOURS = """
(element, pseudo) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const mix = (...layers) => {
    canvas.reset();
    for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const beneath = (node) => {
    const layers = [];
    for (; node; node = node.assignedSlot ?? node.parentNode ?? node.host) {
      if (node instanceof Element) layers.unshift(getComputedStyle(node).backgroundColor);
    }
    return layers;
  };
  const style = getComputedStyle(element, pseudo || null);
  const layers = beneath(element);
  const around = beneath(element.parentNode);
  return {
    text: mix("white", ...layers, style.color),
    background: mix("white", ...layers),
    border: mix("white", ...around, style.borderTopColor),
    around: mix("white", ...around),
  };
}
"""


#: The names of elements that reach beyond the left or right edge of the window.
STICKING_OUT = """
() => {
  const chats = [...document.querySelectorAll("chat-session")];
  const all = [document, ...chats.map((chat) => chat.shadowRoot)]
    .flatMap((root) => [...root.querySelectorAll("body *, [part]")]);
  const sticksOut = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.left < -0.5 || box.right > innerWidth + 0.5);
  };
  return all.filter((element) => element.checkVisibility() && sticksOut(element))
    .map((element) => element.getAttribute("part") ?? element.tagName);
}
"""


@dataclass(frozen=True)
class Colours:
    text: list[int]
    background: list[int]
    border: list[int]
    around: list[int]


def colours(locator: Locator, pseudo: str = "") -> Colours:
    return Colours(**locator.evaluate(COLOURS, pseudo))


def contrast(one: list[int], other: list[int]) -> float:
    """The contrast ratio of WCAG."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: list[int]) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (value / 255 for value in colour)
    ]
    return sum(part * share for part, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def assert_readable(locator: Locator, pseudo: str = "") -> None:
    """Every element that is found and seen has text that stands out from what is behind it."""
    expect(locator.filter(visible=True).first).to_be_visible()
    shown = [element for element in locator.all() if element.is_visible()]
    for element in shown:
        found = colours(element, pseudo)
        ratio = contrast(found.text, found.background)
        assert ratio >= TEXT, f"{ratio:.2f}: {element.text_content()!r} {found}"


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def context(new_context: Callable[..., BrowserContext], scheme: str) -> BrowserContext:
    """Of a reader who wants it light, or dark, and nothing that moves."""
    return new_context(color_scheme=scheme, reduced_motion="reduce")


@pytest.fixture
def phone(new_context: Callable[..., BrowserContext]) -> Iterator[Page]:
    return new_context(viewport=PHONE, has_touch=True, is_mobile=True).new_page()


def test_contrast_of_the_demo_pages(scheme: str, server: Server, page: Page) -> None:
    """The demo's own text and links can be read, and the page is as dark as it was asked to be."""
    for path in ("/", "/chat/counter/", "/chat/telegraph/"):
        page.goto(server.origin + path)
        assert_readable(page.locator("h1, h2, p, a, label, code, .card-action, .telegraph button"))
        dark = sum(colours(page.locator("body")).background) < 3 * 128
        assert dark == (scheme == "dark")


@pytest.mark.usefixtures("scheme")
@pytest.mark.usefixtures("without_tls")
def test_contrast_of_a_conversation(server: Server, page: Page) -> None:
    """Messages, times, buttons, remarks, failures and every state can be read."""
    line = Line(page)
    page.goto(f"{server.origin}/csp/source/")
    chat = Chat(page)
    chat.is_("Online")
    assert_readable(chat.element.locator("[part=empty], [part=status], [part=heading]"))
    assert_readable(chat.input, "::placeholder")
    box = colours(chat.input)
    assert contrast(box.border, box.around) >= CONTROL
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    chat.say("fail")
    expect(chat.contents).to_have_count(5)
    chat.input.fill("text")
    assert_readable(chat.element.locator("[part=content], [part=author], time, [part=hint]"))
    assert_readable(chat.element.locator("button"))
    assert_readable(chat.input)
    chat.say("x" * 300_000)
    assert_readable(chat.element.locator("[part=notice-text], [part=dismiss]"))
    chat.input.fill("")
    chat.press("Dismiss")

    chat.press("End chat")
    assert_readable(chat.element.locator("dialog p, dialog button"))
    chat.press("Keep talking")

    line.cut()
    chat.say("meanwhile")
    assert_readable(chat.waiting.locator("[part=content], [part=author], [part=remark]"))
    assert_readable(chat.element.locator("[part=banner-text], [part=banner-time]"))
    assert_readable(chat.element.locator("[part=status]"))
    assert_readable(chat.element.locator("[part=banner-button]"))
    line.mend()
    chat.is_("Online")

    copy = Chat(duplicate(chat.page))
    expect(chat.banner).to_contain_text("another tab")
    assert_readable(chat.element.locator("[part=banner-text], [part=banner-button]"))
    copy.press("End chat")
    copy.press("End it now")
    copy.is_("Ended")
    copy.reload()
    assert_readable(copy.notes)


def test_contrast_of_what_is_offered(open_chat: Callable[..., Chat]) -> None:
    """So can questions, the time that is left, buttons, forms, profiles and files on their way."""
    quiz = open_chat("quiz")
    quiz.press("Play")
    assert_readable(quiz.element.locator("[part=deadline], [part=hint]"))
    quiz.element.get_by_role("textbox", name="Your answer").press_sequentially("Ada\n")
    expect(quiz.element.get_by_role("button", name="Jupiter")).to_be_visible()
    assert_readable(quiz.element.locator("[part=content], [part=deadline], button"))
    button = colours(quiz.element.get_by_role("button", name="Jupiter"))
    assert contrast(button.border, button.around) >= CONTROL

    echo = open_chat("echo")
    echo.press("Settings")
    words = echo.element.get_by_role("textbox", name="Words to leave out")
    words.fill("rain")
    words.press("Enter")
    form = "[part=dialog-title], label, output, [part=field-hint], [part=tag], select, button"
    assert_readable(echo.element.locator(form))
    assert_readable(words, "::placeholder")
    for control in (echo.element.get_by_role("switch"), words):
        box = colours(control)
        assert contrast(box.border, box.around) >= CONTROL

    guide = open_chat("guide")
    assert_readable(guide.element.locator("legend, label, [part=profile-description], button"))
    guide.press("Start")
    guide.is_("Online")
    assert_readable(guide.element.locator("[part=profile], [part~=tool]"))

    vault = open_chat("vault")
    assert_readable(vault.element.locator("[part=keys] p, label, button"))

    shelf = open_chat("shelf")
    large = {"name": "a.txt", "mimeType": "text/plain", "buffer": b""}
    with shelf.page.expect_file_chooser() as chooser:
        shelf.press("Attach files")
    chooser.value.set_files([large, {**large, "name": "b.txt", "buffer": b"text"}])
    expect(shelf.element.locator("[data-failed]")).to_have_count(1)
    assert_readable(shelf.element.locator("[part=attachment], [part=attachment-state], button"))


def test_contrast_while_it_works(open_chat: Callable[..., Chat]) -> None:
    """So can what a person sees while an answer comes."""
    chat = open_chat("storyteller")
    chat.say("rain")
    chat.has_story(words=3)
    expect(chat.stop).to_be_visible()
    assert_readable(chat.element.locator("[part=working], [part=stop]"))
    button = colours(chat.stop)
    assert contrast(button.border, button.around) >= CONTROL
    chat.stop.click()


def assert_fits(page: Page) -> None:
    """Nothing is wider than the page, and nothing sticks out of it."""
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    sticking_out = page.evaluate(STICKING_OUT)
    assert sticking_out == []


def assert_apart(chat: Chat) -> None:
    """What stands one below the other does not overlap, and the message box is on the screen."""
    names = ("header", "messages", "notice", "banner", "activity", "composer")
    boxes = []
    for name in names:
        part = chat.element.locator(f"[part={name}]")
        if part.is_visible():
            boxes.append((name, part.bounding_box()))
    bottom = 0.0
    for name, box in boxes:
        assert box["height"] > 0, name
        assert box["y"] >= bottom - 0.5, name
        bottom = box["y"] + box["height"]
    assert bottom <= chat.page.viewport_size["height"] + 0.5
    assert dict(boxes)["messages"]["height"] >= 100


@pytest.mark.parametrize("width", [360, 800, 1100])
def test_everything_is_in_line(
    width: int, server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """The messages and what stands below them have the same edges."""
    page = new_context(viewport={"width": width, "height": 700}).new_page()
    line = Line(page)
    page.goto(f"{server.origin}/csp/source/")
    chat = Chat(page)
    chat.is_("Online")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    line.cut()
    edges = set()
    for part in ("list", "composer-row", "banner"):
        box = chat.element.locator(f"[part={part}]").bounding_box()
        edges.add((round(box["x"]), round(box["x"] + box["width"])))
    assert len(edges) == 1


def assert_side_by_side(*locators: Locator) -> None:
    right = 0.0
    for locator in locators:
        box = locator.bounding_box()
        assert box is not None
        assert box["x"] >= right - 0.5
        right = box["x"] + box["width"]


def test_the_demo_pages_on_a_phone(server: Server, phone: Page) -> None:
    """Nothing has to be scrolled sideways."""
    phone.goto(server.origin)
    expect(phone.get_by_role("link", name="Storyteller")).to_be_visible()
    assert_fits(phone)
    phone.get_by_role("link", name="Telegraph").click()
    expect(phone.get_by_label("Your telegram")).to_be_visible()
    assert_fits(phone)


def test_a_conversation_on_a_phone(server: Server, phone: Page) -> None:
    """Whatever is said, and whatever happens, everything is on the screen, and nothing overlaps."""
    line = Line(phone)
    phone.goto(f"{server.origin}/chat/counter/")
    chat = Chat(phone)
    chat.is_("Online")

    def looks_right() -> None:
        assert_fits(phone)
        assert_apart(chat)

    looks_right()
    chat.say("w" * 500)
    chat.say("https://example.com/" + "a-very-long-path/" * 20)
    chat.say("words " * 200)
    expect(chat.contents).to_have_count(7)
    looks_right()
    expect(chat.contents.last).to_be_in_viewport()
    chat.input.fill("line\n" * 40)
    looks_right()
    expect(chat.input).to_be_in_viewport(ratio=1)
    expect(chat.send).to_be_in_viewport(ratio=1)
    assert_side_by_side(chat.input, chat.send)
    chat.input.fill("x" * 300_000)
    chat.send.click()
    expect(chat.element.get_by_role("alert")).to_be_visible()
    looks_right()
    chat.press("Dismiss")
    chat.input.fill("")
    header = [chat.element.locator(f"[part={part}]") for part in ("heading", "status", "end")]
    assert_side_by_side(*header)

    line.cut()
    chat.say("meanwhile")
    looks_right()
    line.mend()
    chat.is_("Online")
    chat.press("End chat")
    expect(chat.element.get_by_role("dialog")).to_be_in_viewport(ratio=1)
    assert_fits(phone)
    chat.press("End it now")
    chat.is_("Ended")
    looks_right()
    expect(chat.element.get_by_role("button", name="Start a new")).to_be_in_viewport(ratio=1)


def test_what_is_offered_fits_on_a_phone(server: Server, phone: Page) -> None:
    """Questions, settings, keys, profiles and files find room on 360 pixels."""
    chat = Chat(phone)
    for bot, label in (("guide", "Start"), ("vault", "Save and connect")):
        phone.goto(f"{server.origin}/chat/{bot}/")
        expect(chat.element.get_by_role("button", name=label)).to_be_in_viewport(ratio=1)
        assert_fits(phone)
    phone.goto(f"{server.origin}/chat/quiz/")
    chat.press("Play")
    box = chat.element.get_by_role("textbox", name="Your answer")
    expect(box).to_be_visible()
    assert chat.stop.bounding_box()["height"] <= 32  # its sign and its name are on one line
    box.fill("Ada")
    chat.send.click()
    for name in ("Mars", "Jupiter", "Venus"):
        expect(chat.element.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    assert_fits(phone)
    assert_apart(chat)
    phone.goto(f"{server.origin}/chat/echo/")
    chat.press("Settings")
    expect(chat.element.get_by_role("dialog")).to_be_in_viewport(ratio=1)
    assert_fits(phone)
    save = chat.element.get_by_role("button", name="Save")
    save.scroll_into_view_if_needed()
    expect(save).to_be_in_viewport(ratio=1)
    phone.goto(f"{server.origin}/chat/shelf/")
    with phone.expect_file_chooser() as chooser:
        chat.press("Attach files")
    name = f"{'a very long name ' * 10}.txt"
    file = {"name": name, "mimeType": "text/plain", "buffer": b"text"}
    chooser.value.set_files([file, {**file, "buffer": b""}])
    expect(chat.element.locator("[data-failed]")).to_have_count(1)
    assert_fits(phone)
    assert_apart(chat)
    for control in chat.element.get_by_role("button").all():
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 24


def test_a_file_that_is_shown_leaves_the_answer_in_view(server: Server, phone: Page) -> None:
    """The end of what its message says is seen above it, in most of the conversation's room."""
    phone.goto(f"{server.origin}/chat/librarian/")
    chat = Chat(phone)
    chat.press("Crashes")
    text = chat.log.locator("[part=file-text]")
    expect(text).to_be_visible(timeout=PATIENCE * 1000)
    phone.wait_for_function(AT_THE_END, arg=chat.log.element_handle())
    log, shown = chat.log.bounding_box(), text.bounding_box()
    answer = chat.contents.last.bounding_box()
    assert log
    assert shown
    assert answer
    assert shown["height"] <= log["height"] / 2.5
    assert answer["y"] + answer["height"] - log["y"] >= log["height"] / 3


def test_with_the_keyboard_of_a_phone_open(server: Server, phone: Page) -> None:
    """In the half of the screen that the keyboard leaves, one sees what one writes."""
    phone.goto(f"{server.origin}/chat/counter/")
    chat = Chat(phone)
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    phone.set_viewport_size({"width": 360, "height": 330})
    expect(chat.input).to_be_in_viewport(ratio=1)
    assert_fits(phone)
    assert_apart(chat)


def test_targets_are_large_enough_to_touch(server: Server, phone: Page) -> None:
    """WCAG 2.2, 2.5.8: no control of the chat is smaller than 24 pixels; the main ones have 40."""
    phone.goto(f"{server.origin}/chat/storyteller/")
    chat = Chat(phone)
    chat.say("rain")
    expect(chat.stop).to_be_visible()
    for control in chat.element.get_by_role("button").all():
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 24
    for control in (chat.input, chat.send):
        assert control.bounding_box()["height"] >= 40
    chat.stop.click()


AT_THE_END = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 2"


def test_reading_back_is_not_disturbed(server: Server, phone: Page) -> None:
    """
    A reader who has scrolled up stays there while more comes, and gets back down by a button; one
    who is at the end is kept there.
    """
    phone.goto(f"{server.origin}/chat/storyteller/")
    chat = Chat(phone)
    jump = chat.element.get_by_role("button", name="Jump to latest")
    chat.say("rain\n" * 30)
    before = chat.has_story(words=5)
    phone.wait_for_function(AT_THE_END, arg=chat.log.element_handle())
    expect(jump).to_be_hidden()
    chat.log.evaluate("log => log.scrollTo(0, 0)")
    expect(jump).to_be_visible()
    chat.has_story(words=len(before.split()) + 5)
    assert chat.log.evaluate("log => log.scrollTop") == 0
    jump.click()
    expect(jump).to_be_hidden()
    expect(chat.input).to_be_focused()
    phone.wait_for_function(AT_THE_END, arg=chat.log.element_handle())
    chat.stop.click()
    expect(chat.contents.last).to_be_in_viewport()

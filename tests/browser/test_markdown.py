"""Messages in Markdown, on a page that lets no script make markup of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.server.harness import Server
from tests.support.hostile import HEAVY, HOSTILE

from .chat import Chat, scripts

pytestmark = pytest.mark.browser

#: What a message may be made of, and what its elements may have.
TAGS = {
    *("A", "BLOCKQUOTE", "BR", "BUTTON", "CODE", "DEL", "DIV", "EM", "H3", "H4", "H5", "H6", "HR"),
    *("LI", "OL", "P", "PRE", "SPAN", "STRONG", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR", "UL"),
}
ATTRIBUTES = {
    *(
        "part",
        "href",
        "target",
        "rel",
        "title",
        "start",
        "tabindex",
        "type",
        "data-language",
        "data-token",
    ),
}
SAMPLE = """\
# Weather

It **rains**, ~~shines~~ and `pours`; see [the map](https://map.example/).

| day | rain |
|---|--:|
| today | 3 |

- [x] umbrella
- [ ] boots

```python
def rain(litres: int) -> str:
    return f"{litres} l"
```

> Bring a <b>coat</b>.
"""


#: What there is in a conversation.
FOUND = """log => {
  const inside = [...log.querySelectorAll("[data-format=markdown] *")];
  const texts = [...log.querySelectorAll("[part~=own] [part=content], [part=author]")];
  const others = "script, style, iframe, object, embed, form, svg, math, link, meta, img, video";
  return {
    tags: [...new Set(inside.map(one => one.tagName))],
    names: [...new Set(inside.flatMap(one => one.getAttributeNames()))],
    links: inside.filter(one => one.href).map(one => [one.protocol, one.rel]),
    texts: texts.map(one => one.childElementCount),
    others: log.querySelectorAll(`:is([part=content], [part=author]) :is(${others})`).length,
    files: log.querySelector("[part~=files]").textContent,
  };
}"""


@pytest.fixture
def writer(open_chat: Callable[..., Chat]) -> Chat:
    chat = open_chat(path="/writer/")
    chat.is_("Online")
    return chat


def answers(chat: Chat) -> Locator:
    """The messages that are shown as Markdown."""
    return chat.log.locator("[part~=other] [part=content][data-format=markdown]")


def shown(chat: Chat) -> Locator:
    """The last of them."""
    return answers(chat).last


def send(chat: Chat, name: str, data: Any = None) -> None:
    """Send an event of the application's own, once the page can."""
    chat.element.evaluate("(e, [name, data]) => e.client.send(name, data)", [name, data])


def test_it_is_shown_as_it_is_meant(server: Server, context: BrowserContext, writer: Chat) -> None:
    """In messages, questions and the outputs of steps; and code can be copied."""
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.origin)
    # What it needs is loaded with the first of its kind: colours with a language that is known.
    writer.say("*one*\n\n```nosuch\ncode\n```")
    expect(shown(writer).locator("code")).to_have_text("code")
    assert scripts(writer.page) == ["chat-session.js", "markdown.js"]
    writer.say("```js\nlet one = 1;\n```")
    message = shown(writer)
    expect(message.locator("[data-token=keyword]")).to_have_text("let")
    assert scripts(writer.page) == ["chat-session.js", "markdown.js", "highlight.js"]

    writer.say(SAMPLE)
    expect(message.locator("[data-token=keyword]").first).to_have_text("def")
    expect(message.get_by_role("heading", name="Weather", level=3)).to_be_visible()
    expect(message.locator("strong")).to_have_text("rains")
    link = message.get_by_role("link", name="the map")
    expect(link).to_have_attribute("href", "https://map.example/")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(link).to_have_attribute("target", "_blank")
    expect(message.get_by_role("cell", name="3")).to_have_css("text-align", "end")
    expect(message.get_by_role("listitem")).to_have_text(["☑ umbrella", "☐ boots"])
    expect(message.locator("blockquote")).to_have_text("Bring a <b>coat</b>.")
    expect(message.locator("[part=code-language]")).to_have_text("python")
    own = writer.log.locator("[part~=own] [part=content]").last
    expect(own.locator("a")).to_have_count(1)  # what a person writes has links, and nothing else
    assert own.evaluate("content => content.querySelectorAll('*').length") == 1
    assert own.text_content() == SAMPLE
    copy = message.get_by_role("button", name="Copy")
    copy.click()
    expect(message.get_by_role("button", name="Copied")).to_be_visible()
    code = 'def rain(litres: int) -> str:\n    return f"{litres} l"'
    assert writer.page.evaluate("navigator.clipboard.readText()") == code
    expect(copy).to_be_visible()

    # Pictures come from hosts that the page allows; others are links, and nobody is asked for them.
    writer.page.route("https://pictures.example/**", lambda route: route.fulfill(body=""))
    writer.say(
        "![one](https://other.example/a.png) [![two](https://x.example/b.png)](https://y.example) "
        "![three](https://pictures.example/c.png)"
    )
    expect(message.get_by_role("link")).to_have_text(["one", "two"])
    picture = message.locator("img")
    expect(picture).to_have_count(1)
    expect(picture).to_have_attribute("src", "https://pictures.example/c.png")
    expect(picture).to_have_attribute("alt", "three")
    expect(picture).to_have_attribute("referrerpolicy", "no-referrer")

    send(writer, "all", "one **word**")
    expect(writer.log.locator("[part~=question] [part=content] strong")).to_have_text("word")
    writer.log.locator("[part=step-summary]").click()
    expect(writer.log.locator("[part=step-text] strong")).to_have_text("word")


def test_what_cannot_be_loaded_leaves_the_text_as_it_is_written(
    server: Server, context: BrowserContext
) -> None:
    page = context.new_page()
    page.route("**/markdown.js", lambda route: route.abort("connectionrefused"))
    chat = Chat.at(page, f"{server.origin}/writer/")
    chat.say("**one**")
    chat.shows("**one**", "**one**")


def test_the_finished_blocks_of_a_stream_stay_and_so_does_a_selection(writer: Chat) -> None:
    page = writer.page
    page.evaluate(
        "document.addEventListener('chat-ask', ({ detail }) => (window.call = detail.call))"
    )
    send(
        writer,
        "grow",
        ["First *block*.", "\n\n- a\n", "- b\n\n", "```js\nlet a;\n", "```\n", "Last\nline"],
    )
    page.wait_for_function("() => window.call")
    message = shown(writer)
    expect(message.locator("p").last).to_have_text("Last line")
    expect(message.locator("[data-token=keyword]")).to_have_text("let")
    handle = message.element_handle()
    nodes = message.evaluate_handle(
        """content => {
          const nodes = [...content.querySelectorAll("*")];
          const [word] = [...content.querySelectorAll("p")].at(-1).childNodes;
          content.getRootNode().getSelection().selectAllChildren(word.parentNode);
          return nodes;
        }"""
    )
    page.evaluate("document.querySelector('chat-session').client.answer(window.call, null)")
    expect(writer.streaming).to_have_count(0)
    assert nodes.evaluate("nodes => nodes.length > 10 && nodes.every(node => node.isConnected)")
    assert handle is not None
    assert (
        handle.evaluate("content => content.getRootNode().getSelection().toString()") == "Last line"
    )


def test_a_stream_ends_as_the_whole_message(writer: Chat) -> None:
    """Wherever its pieces end: within words, marks, lines and references."""
    text = SAMPLE + (
        "\n[early]\n\n1. one\n\n   two\n2. three\n\nsetext\n======\n\n> a\nlazy\n\n***\n\n"
        "<div>\nhtml\n</div>\n\n    indented\n\n\ttab\n\n- a\n- b\n\n\n+ c\n---\n\n"
        "[early]: https://early.example\n\n~~~\nopen fence"
    )
    writer.page.evaluate(
        "addEventListener('chat-ask', ({ target, detail }) => target.client.answer(detail.call, 0))"
    )
    sizes = (1, 7, 100)
    messages = answers(writer)

    def shown_now() -> list[str]:
        expect(messages).to_have_count(len(sizes))
        expect(writer.streaming).to_have_count(0)
        for nth in range(len(sizes)):
            expect(messages.nth(nth).get_by_role("link", name="early")).to_be_visible()
            expect(messages.nth(nth).locator("[data-token=keyword]").first).to_be_visible()
        return messages.evaluate_all("all => all.map((one) => one.innerHTML)")

    for count, size in enumerate(sizes, start=1):
        send(writer, "grow", [text[at : at + size] for at in range(0, len(text), size)])
        expect(messages.get_by_role("link", name="early")).to_have_count(count)
    streamed = shown_now()
    writer.reload()
    assert shown_now() == streamed


def test_the_address_of_a_reference_that_is_shown_before_it_is_whole(writer: Chat) -> None:
    page = writer.page
    page.evaluate(
        """addEventListener("chat-ask", ({ target, detail }) => {
          window.goOn = () => target.client.answer(detail.call, 0);
        })"""
    )
    send(writer, "grow", ["[map]\n\n[map]: https://map.exa", None, "mple/today\n\n*end*\n"])
    link = shown(writer).get_by_role("link", name="map")
    expect(link).to_have_attribute("href", "https://map.exa/")
    page.wait_for_function("() => window.goOn")
    page.evaluate("() => { goOn(); goOn = null; }")
    expect(shown(writer).locator("em")).to_have_text("end")
    expect(link).to_have_attribute("href", "https://map.example/today")
    page.wait_for_function("() => window.goOn")
    page.evaluate("() => goOn()")
    expect(writer.streaming).to_have_count(0)
    expect(link).to_have_attribute("href", "https://map.example/today")


def test_what_is_hostile_stays_text(server: Server, context: BrowserContext) -> None:
    """Nothing runs, nobody is asked for anything, and there is nothing that Markdown has not."""
    page = context.new_page()
    asked: list[str] = []
    dialogs: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    chat = Chat.at(page, f"{server.origin}/writer/")
    chat.is_("Online")
    for text in HOSTILE[:20]:
        chat.say(text)
    send(chat, "hostile")
    expect(chat.log.locator("[part~=files]")).to_have_count(1)
    for _ in range(2):
        expect(chat.log.locator("[part=content][data-format=markdown]")).to_have_count(
            len(HOSTILE) + 1 + 20
        )
        found = chat.log.evaluate(FOUND)
        assert set(found["tags"]) <= TAGS
        assert set(found["names"]) <= ATTRIBUTES
        assert {protocol for protocol, _ in found["links"]} <= {"http:", "https:", "mailto:"}
        assert {rel for _, rel in found["links"]} == {"noopener noreferrer nofollow"}
        assert set(found["texts"]) == {0}
        assert "<img src=x onerror=alert(1)>.txt" in found["files"]
        assert found["others"] == 0
        page.reload()
        chat.is_("Online")
    assert dialogs == []
    assert [url for url in asked if not url.startswith(server.origin)] == []


@pytest.mark.parametrize(
    "start", [pytest.param(start, marks=[pytest.mark.slow] if start else []) for start in range(8)]
)
def test_what_is_heavy_does_not_freeze_the_page(start: int, writer: Chat) -> None:
    """It is shown, and the page answers again in seconds."""
    writer.page.set_default_timeout(30_000)
    for name in list(HEAVY)[start::8]:
        send(writer, "heavy", name)
        expect(shown(writer)).to_be_visible()
        assert shown(writer).evaluate("content => content.querySelectorAll('*').length") < 50_000
        writer.say("*light*")
        expect(shown(writer).locator("em")).to_have_text("light")
        writer.element.evaluate("({ client }) => client.newSession({})")
        expect(writer.contents).to_have_count(0)

"""Much at once, and what no server can read: a real browser on a real line."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser

#: Counts the numbered frames that a page writes to its websockets, whatever becomes of them.
COUNTED = """
window.frames = 0;
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
  if (JSON.parse(text).n) window.frames += 1;
  return send.call(this, text);
};
"""


@pytest.mark.slow
def test_events_given_at_once_arrive_each_once_and_in_order(server: Server, page: Page) -> None:
    """The server never closes the line for it, and hardly any event is sent twice."""
    count = 200
    page.add_init_script(COUNTED)
    page.goto(f"{server.origin}/bare/")
    chat = Chat(page)
    chat.is_("Online")
    chat.element.evaluate(
        """(element, count) => {
          window.closes = [];
          element.addEventListener("chat-state", ({ detail }) => window.closes.push(detail.code));
          for (let number = 1; number <= count; number++) element.client.send("note", { number });
        }""",
        count,
    )
    page.wait_for_function(
        "() => document.querySelector('chat-session').client.pending.length === 0", timeout=90_000
    )
    said = [row.data["number"] for row in server.database.log(chat.session) if row.n]
    assert said == list(range(1, count + 1))
    assert page.evaluate("window.closes") == []
    assert page.evaluate("window.frames") <= 1.5 * count


def test_an_event_that_the_server_cannot_read_blocks_nothing(server: Server, page: Page) -> None:
    """
    One that was left in the tab by an older release is given up, the page is told, and the others
    go on.
    """
    page.goto(f"{server.origin}/bare/")
    chat = Chat(page)
    chat.is_("Online")
    page.evaluate(
        r"""() => {
          const chat = document.querySelector("chat-session");
          chat.client.close();
          const key = Object.keys(sessionStorage).find((name) => name.endsWith("/ws/parrot/"));
          const left = JSON.parse(sessionStorage[key]);
          const note = (name, n) => ({ type: "event", n, name, data: { number: n } });
          const names = ["note", "a\u0085", "note"];
          left.pending = names.map((name, index) => note(name, left.next + index));
          left.next += 3;
          sessionStorage[key] = JSON.stringify(left);
        }"""
    )
    page.add_init_script(
        """window.refused = [];
        addEventListener("chat-event-refused", ({ detail }) => refused.push(detail));"""
    )
    page.reload()
    page.wait_for_function("() => window.refused.length > 0")
    chat.element.evaluate(
        """({ client }) => new Promise((resolve) => {
          const check = () => client.pending.length || resolve();
          client.addEventListener("pending", check);
          check();
        })"""
    )
    refused = page.evaluate("window.refused.map(({ code, frame }) => [code, frame.name])")
    assert refused == [["bad_frame", "a\x85"]]
    said = [row.data["number"] for row in server.database.log(chat.session) if row.n]
    assert said == [1, 3]

"""Who is logged in changes: the page says so, and loses and shows nothing of anybody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.server.harness import Server

from .chat import Chat, Line
from .conftest import add_staff, demo_server, log_in, log_in_by_form

pytestmark = pytest.mark.browser

GREETING = "Tell me something. I forget nothing that you say here."


@pytest.fixture(scope="module")
def often() -> Iterator[Server]:
    """A server that looks at the logins of its pages again every half second."""
    with demo_server(REVALIDATE_SECONDS=0.5) as found:
        yield found


def test_an_account_that_is_closed(often: Server, context: BrowserContext) -> None:
    """It is no way back in, either: the page has no more than a stranger's."""
    name = log_in(often, context)
    page = context.new_page()
    chat = Chat.at(page, f"{often.origin}/chat/assistant/")
    chat.shows(GREETING)
    session = chat.session
    often.database.execute("UPDATE auth_user SET is_active = 0 WHERE username = ?", name)
    expect(chat.banner).to_contain_text("You are not logged in any more.")
    chat.reload()
    chat.is_("Online")
    expect(chat.notes).to_contain_text("could not be continued")
    assert chat.session != session


def test_the_next_user_of_a_tab_sends_and_sees_nothing_of_the_last_one_s(
    often: Server, context: BrowserContext
) -> None:
    """
    Neither what was written without a line, nor a draft, nor keys: on a page that was there before
    them, and on one that is loaded for the next user.
    """

    def give_keys(key: str, region: str) -> None:
        chat.element.get_by_label("API_KEY").fill(key)
        chat.element.get_by_label("REGION").fill(region)
        chat.press("Save and connect")
        chat.is_("Online")

    log_in(often, context)
    page = context.new_page()
    line = Line(page)
    chat = Chat.at(page, f"{often.origin}/chat/vault/")
    give_keys("sesame-42", "Bree")
    for reloads in (False, True):
        session = chat.session
        line.cut()
        chat.say("my PIN is a-b-c-d")
        expect(chat.waiting).to_have_count(1)
        chat.input.fill("a secret wish")
        log_in(often, context)
        if reloads:
            line.restore()
            chat.reload()
        else:
            line.mend()
        expect(chat.element.get_by_label("API_KEY")).to_have_value("")
        expect(chat.element.get_by_label("REGION")).to_have_value("")
        expect(chat.waiting).to_have_count(0)
        give_keys("other-7", "Rohan")
        expect(chat.input).to_have_value("")
        chat.say("which?")
        answer = "A key of 7 characters that ends in '-7', for Rohan."
        expect(chat.contents.last).to_have_text(answer)
        assert chat.session != session
        remembered = page.evaluate("JSON.stringify(Object.entries(sessionStorage))")
        stored = str(often.database.query("SELECT * FROM chatsessions_sessionevent"))
        for secret in ("a-b-c-d", "a secret wish", "sesame"):
            assert secret not in stored + remembered


@pytest.mark.parametrize("in_this_tab", [True, False], ids=["in this tab", "in another"])
def test_a_conversation_that_was_begun_before_the_login_goes_on(
    in_this_tab: bool, often: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """It is given to who logs in, with another token: a browser with the old one gets nothing."""
    name = add_staff(often)
    context, elsewhere = new_context(), new_context()
    page = context.new_page()
    chat = Chat.at(page, f"{often.origin}/visitors/")
    chat.say("one")
    chat.shows("one", "one", "one")
    session, token = chat.session, chat.element.evaluate("({ client }) => client.token")
    chat.input.fill("half a thought")
    remembered = page.evaluate("Object.entries(sessionStorage)")

    tab = page if in_this_tab else context.new_page()
    tab.goto(f"{often.origin}/admin/login/?next={'/visitors/' if in_this_tab else '/admin/'}")
    log_in_by_form(tab, name)
    page.wait_for_function(
        """before => {
          const { token } = document.querySelector("chat-session")?.client ?? {};
          return token && token !== before;
        }""",
        arg=token,
    )
    chat.is_("Online")
    chat.shows("one", "one", "one")
    expect(chat.input).to_have_value("half a thought")
    chat.input.press("Enter")
    chat.shows("one", "one", "one", *["half a thought"] * 3)
    assert chat.session == session
    chat.reload()
    chat.shows("one", "one", "one", *["half a thought"] * 3)
    assert chat.session == session
    assert often.database.session(session)["user_id"] == often.database.user_id(name)

    # Until the login is known to be answered, the old token is asked to come back.
    often.database.update_session(session, assigned_at="2000-01-01 00:00:00")
    stranger = elsewhere.new_page()
    stranger.add_init_script(
        f"for (const [key, value] of {json.dumps(remembered)}) sessionStorage.setItem(key, value)"
    )
    other = Chat.at(stranger, f"{often.origin}/visitors/")
    other.is_("Online")
    assert other.session != session
    other.shows()

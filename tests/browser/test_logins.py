"""A login that ends in another tab, on another server: the page says so, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.harness import Server, free_port, started

from .chat import PATIENCE, Chat, Line
from .conftest import APPLICATION, CHATSESSIONS, SETTINGS

pytestmark = pytest.mark.browser

PASSWORD = "for the tests"
GREETING = "Tell me something. I forget nothing that you say here."


@pytest.fixture
def often(start_server: Callable[..., Server]) -> Server:
    """A server that looks at the logins of its pages again every half second."""
    return start_server(REVALIDATE_SECONDS=0.5)


@pytest.fixture
def beside(often: Server) -> Iterator[Server]:
    """Another server process with the same database, which the first hears nothing of."""
    server = Server(
        often.folder,
        application=APPLICATION,
        settings=SETTINGS,
        chatsessions=CHATSESSIONS,
        port=free_port(),
    )
    try:
        yield server.start()
    finally:
        server.terminate()
        started.remove(server)


@pytest.fixture
def name(often: Server) -> str:
    """Somebody who may log in by the admin's page."""
    return add_staff(often)


def add_staff(server: Server) -> str:
    user = User(username=f"user-{uuid4().hex[:8]}")
    user.set_password(PASSWORD)
    server.database.add_user(user)
    server.database.execute("UPDATE auth_user SET is_staff = 1")
    return user.username


def log_in(page: Page, name: str) -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


@pytest.mark.slow
def test_a_logout_on_another_server(
    often: Server, beside: Server, name: str, context: BrowserContext
) -> None:
    """
    The line closes when the login is looked at again, for good: the page says why and where to
    log in. What was being written is kept, and after the login the conversation goes on.
    """
    page = context.new_page()
    page.goto(f"{often.origin}/chat/assistant/")
    page.get_by_role("link", name="Log in").click()
    log_in(page, name)
    chat = Chat(page)
    chat.say("I like hats")
    expect(chat.contents.last).to_contain_text("That makes 1.")
    expect(chat.streaming).to_have_count(0)
    session = chat.session
    chat.input.fill("half a thought")

    tab = context.new_page()
    tab.goto(f"{beside.origin}/admin/")
    tab.get_by_role("button", name="Log out").click()
    expect(tab.get_by_role("heading", name="Logged out")).to_be_visible()

    chat.is_("Not available")
    expect(chat.banner).to_contain_text(
        "You are not logged in any more. What you have written is kept.", timeout=PATIENCE * 1000
    )
    expect(chat.element.get_by_role("button", name="Try now")).to_have_count(0)
    expect(chat.log.get_by_text("I like hats", exact=True)).to_be_visible()
    assert often.database.session(session)["status"] == "away"

    chat.banner.get_by_role("link", name="Log in").click()
    log_in(page, name)
    chat.is_("Online")
    assert chat.session == session
    expect(chat.input).to_have_value("half a thought")
    chat.input.press("Enter")
    expect(chat.contents.last).to_contain_text("That makes 2.")
    expect(chat.streaming).to_have_count(0)
    chat.shows_what_is_stored(often.database)


def test_an_account_that_is_closed(often: Server, name: str, context: BrowserContext) -> None:
    """It is no way back in, either: the page has no more than a stranger's."""
    page = context.new_page()
    page.goto(f"{often.origin}/admin/login/?next=/chat/assistant/")
    log_in(page, name)
    chat = Chat(page)
    chat.shows(GREETING)
    session = chat.session
    often.database.execute("UPDATE auth_user SET is_active = 0")
    expect(chat.banner).to_contain_text("You are not logged in any more.", timeout=PATIENCE * 1000)
    chat.reload()
    chat.is_("Online")
    expect(chat.notes).to_contain_text("could not be continued")
    assert chat.session != session


def log_out_and_in(server: Server, context: BrowserContext, name: str) -> None:
    """In another tab: from now on the browser is somebody else's."""
    tab = context.new_page()
    tab.goto(f"{server.origin}/admin/")
    tab.get_by_role("button", name="Log out").click()
    tab.goto(f"{server.origin}/admin/login/")
    log_in(tab, name)
    expect(tab.get_by_role("button", name="Log out")).to_be_visible()
    tab.close()


@pytest.mark.parametrize("reloads", [True, False])
def test_the_next_user_of_a_tab_sends_and_sees_nothing_of_the_last_one_s(
    reloads: bool, often: Server, name: str, context: BrowserContext
) -> None:
    """
    Neither what was written without a line, nor a draft, nor keys: on a page that is loaded for
    the next user, and on one that was there before them.
    """
    page = context.new_page()
    line = Line(page)
    page.goto(f"{often.origin}/admin/login/?next=/chat/vault/")
    log_in(page, name)
    chat = Chat(page)
    for label, value in (("API_KEY", "sesame-42"), ("REGION", "Bree")):
        chat.element.get_by_label(label).fill(value)
    chat.press("Save and connect")
    chat.is_("Online")
    session = chat.session
    line.cut()
    chat.say("my PIN is 1234")
    expect(chat.waiting).to_have_count(1)
    chat.input.fill("half a thought")

    log_out_and_in(often, context, add_staff(often))
    if reloads:
        line.restore()
        chat.reload()
    else:
        line.mend()
    key = chat.element.get_by_label("API_KEY")
    expect(key).to_have_value("", timeout=PATIENCE * 1000)
    expect(chat.element.get_by_label("REGION")).to_have_value("")
    expect(chat.waiting).to_have_count(0)
    key.fill("other-7")
    chat.element.get_by_label("REGION").fill("Rohan")
    chat.press("Save and connect")
    chat.is_("Online")
    expect(chat.input).to_have_value("")
    chat.say("which?")
    expect(chat.contents.last).to_have_text("A key of 7 characters that ends in '-7', for Rohan.")
    assert chat.session != session
    remembered = page.evaluate("JSON.stringify(Object.entries(sessionStorage))")
    everything = str(often.database.query("SELECT * FROM chatsessions_sessionevent")) + remembered
    for secret in ("1234", "half a thought", "sesame"):
        assert secret not in everything


@pytest.mark.parametrize("in_this_tab", [True, False], ids=["in this tab", "in another"])
def test_a_conversation_that_was_begun_before_the_login_goes_on(
    in_this_tab: bool, often: Server, name: str, new_context: Callable[..., BrowserContext]
) -> None:
    """It is given to who logs in, with another token: a browser with the old one gets nothing."""
    context, elsewhere = new_context(), new_context()
    page = context.new_page()
    page.goto(f"{often.origin}/visitors/")
    chat = Chat(page)
    chat.say("one")
    chat.shows("one", "one", "one")
    session, token = chat.session, chat.element.evaluate("({ client }) => client.token")
    chat.input.fill("half a thought")
    remembered = page.evaluate("Object.entries(sessionStorage)")

    tab = page if in_this_tab else context.new_page()
    tab.goto(f"{often.origin}/admin/login/?next={'/visitors/' if in_this_tab else '/admin/'}")
    log_in(tab, name)
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
    stranger.goto(f"{often.origin}/visitors/")
    other = Chat(stranger)
    other.is_("Online")
    assert other.session != session
    other.shows()

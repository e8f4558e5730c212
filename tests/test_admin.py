"""The admin: what it shows, to whom, at which cost, and what it does to sessions."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chatsessions.admin import listing, sessions, values, workers
from chatsessions.admin.labels import duration
from chatsessions.admin.page import MAX_FETCHED, read_page
from chatsessions.admin.transcript import MAX_TEXT, Line, LoggedEvent
from chatsessions.admin.values import MASK, is_secret, mask, show_json, stored_values
from chatsessions.input_widget import Select, Tab, TextInput
from chatsessions.models import ChatSession, SessionEvent, SessionFile, Worker
from chatsessions.storage import serializer
from chatsessions.workers import outside

from .support.admin import DELETE, LIST, PAGE, lines, listed, logged, page_of, said, say, staff
from .support.clocks import clock_off
from .support.files import stored_file
from .support.storage import session_row, worker_row

END = "admin:chatsessions_chatsession_end"

EVIL = "<script>alert(1)</script>"
SAFE = "&lt;script&gt;alert(1)&lt;/script&gt;"

pytestmark = pytest.mark.django_db
#: What ends a session writes in a thread of its own, which sees only what is committed.
ends = pytest.mark.django_db(transaction=True)


# Pure parts: secrets


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "DB_PASSWORD",
        "apiKey",
        "API-KEY",
        "x-api_key",
        "accessToken",
        "Authorization",
        "set-cookie",
        "credentials",
        "private",
        "SESSION KEY",
        "client_secret",
        "stripe_key",
        "openaiKey",
        "pin",
        "ｐassword",  # noqa: RUF001  # full-width: looks like one, and would be typed by nobody else
    ],
)
def test_keys_that_look_secret(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize(
    "key", ["author", "name", "spin", "key", "monkey", "public_key", "cache_key", "content", ""]
)
def test_keys_that_do_not_look_secret(key: str) -> None:
    assert not is_secret(key)


def test_masking_reaches_nested_values_and_leaves_the_rest() -> None:
    value = {"a": [{"apiKey": {"deep": "x"}, "model": "m"}], "Password": ["x", "y"], "n": 1}
    assert mask(value) == {"a": [{"apiKey": MASK, "model": "m"}], "Password": MASK, "n": 1}


def test_masking_knows_headers_and_named_values() -> None:
    assert mask([["Authorization", "Bearer x"], ["Accept", "*"]]) == [
        ["Authorization", MASK],
        ["Accept", "*"],
    ]
    assert mask({"name": "password", "value": "x"}) == {"name": "password", "value": MASK}
    assert mask({"name": "colour", "value": "x"}) == {"name": "colour", "value": "x"}


def test_masking_sees_through_the_tags_of_the_serializer() -> None:
    value = {
        "keys": {("api", "token"): "s3cret", "two words": 1, 2: 3},
        "pair": ("token", "s3cret"),
    }
    assert "s3cret" not in show_json(serializer.dumps(value).decode(), reveal=False).text


# Pure parts: stored values


def test_values_are_shown_as_json_with_tags_in_words() -> None:
    value = {"price": Decimal("1.50"), "id": UUID(int=1), "pair": (1, 2), "grid": {(0, 1): "x"}}
    shown = show_json(serializer.dumps(value).decode(), reveal=True)
    assert json.loads(shown.text) == {
        "price": "<decimal> 1.50",
        "id": "<uuid> 00000000-0000-0000-0000-000000000001",
        "pair": {"<tuple>": [1, 2]},
        "grid": {'{"<tuple>": [0, 1]}': "x"},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(days=1, seconds=2), "<timedelta> 1 d 2 s 0 µs"),
        (datetime(2026, 5, 1, 12), "<datetime> 2026-05-01T12:00:00"),  # noqa: DTZ001  # a naive one
        ("\ud800", "\ufffd\ufffd\ufffd"),
        (2**80, 2**80),
        (float("inf"), "<float> inf"),
        ({"~#date": 1}, {"~#date": 1}),
    ],
)
def test_odd_values_are_shown_too(value: object, text: object) -> None:
    assert json.loads(show_json(serializer.dumps(value).decode(), reveal=True).text) == text


@pytest.mark.parametrize(
    "text", ["{", '{"~#str": "%"}', '{"~#dict": 5}', '{"~#dict": [[1]]}', "[" * 5000]
)
def test_damaged_values_break_nothing(text: str) -> None:
    show_json(text, reveal=False)
    show_json(text, reveal=True)


def test_damaged_values_are_shown_only_to_those_who_may_see_secrets() -> None:
    assert show_json('{"password": "hunter2"', reveal=False).text == ""
    assert "hunter2" in show_json('{"password": "hunter2"', reveal=True).text


# Pure parts: the transcript


def client_says(name: str, data: object, *, seq: int = 1, status: str | None = None) -> LoggedEvent:
    return logged(name, json.dumps(data), seq=seq, n=seq, status=status)


def texts(made: list[Line]) -> list[str | None]:
    return [line.text and line.text.text for line in made]


def marks(line: Line) -> list[str]:
    return [mark.text for mark in line.marks]


def detail(line: Line) -> str:
    assert line.detail is not None
    return line.detail.text


def test_messages_of_both_sides() -> None:
    made = lines(("message", said("1", "Hi")), client_says("message", {"content": "Hello"}, seq=2))
    assert [(line.kind, line.title) for line in made] == [("server", "Bot"), ("client", "alice")]
    assert texts(made) == ["Hi", "Hello"]


def test_an_update_replaces_the_message_in_its_place() -> None:
    made = lines(
        ("message", said("1", "Hi")),
        ("message", said("2", "there")),
        ("message_update", said("1", "Hello")),
    )
    assert texts(made) == ["Hello", "there"]
    assert marks(made[0]) == ["edited"]


def test_steps_are_folded_and_change_in_their_place() -> None:
    begun = {"id": "s", "name": "Search", "type": "tool", "input": '{"api_key": "1234"}'}
    made = lines(
        ("step", begun | {"output": "", "streaming": True}),
        ("step", {"id": "t", "name": "Read", "type": "llm", "input": "", "parent": "s"}),
        ("step_update", begun | {"output": "found\nit", "streaming": False, "error": "No more."}),
        ("step_remove", {"id": "t"}),
    )
    search, read = made
    assert (search.title, search.extras) == ("Step: Search", ["tool"])
    assert (read.title, read.extras, read.removed) == ("Step: Read", ["llm", "in Search"], True)
    assert "found\nit" in detail(search)
    assert "No more." in detail(search)
    assert "1234" not in detail(search)
    assert (search.folded, search.failure, search.streaming) == (True, True, False)
    assert marks(search) == []
    (revealed,) = lines(("step", begun | {"output": ""}), reveal=True)
    assert "1234" in detail(revealed)


def test_the_end_of_a_stream_is_no_edit() -> None:
    start = ("message", said("1", "", streaming=True))
    assert lines(start)[0].streaming
    (line,) = lines(start, ("message_update", said("1", "all of it")))
    assert (texts([line]), marks(line), line.streaming) == (["all of it"], [], False)


def test_a_removed_message_stays_readable_and_is_marked() -> None:
    (line,) = lines(("message", said("1", "Oops")), ("message_remove", {"id": "1"}))
    assert line.removed
    assert (texts([line]), marks(line)) == (["Oops"], ["removed"])


def test_changes_of_messages_on_an_earlier_page_are_lines_of_their_own() -> None:
    changed, removed = lines(("message_update", said("1", "new")), ("message_remove", {"id": "2"}))
    assert (texts([changed]), marks(changed)) == (["new"], ["changes an earlier message"])
    assert removed.kind == "event"


@pytest.mark.parametrize("status", ["failed", "stopped", "interrupted"])
def test_the_outcome_of_a_client_event_is_marked(status: str) -> None:
    (line,) = lines(client_says("message", {"content": "x"}, status=status))
    assert [(mark.kind, mark.text) for mark in line.marks] == [("bad", status)]


def test_errors_are_failures() -> None:
    entry, message = lines(
        ("error", {"code": "handler_error", "detail": "Broken"}),
        ("message", said("1", "No", metadata={"error": True})),
    )
    assert (entry.kind, entry.title, texts([entry])) == ("error", "handler_error", ["Broken"])
    assert message.failure


def test_application_events_are_name_and_json_with_secrets_masked() -> None:
    event = ("order_paid", {"order": 7, "card_token": "s3cret"})
    (line,) = lines(event)
    assert (line.kind, line.title) == ("event", "order_paid")
    assert json.loads(detail(line)) == {"order": 7, "card_token": MASK}
    (line,) = lines(event, reveal=True)
    assert "s3cret" in detail(line)


def test_what_the_form_of_the_settings_says_of_a_secret_is_masked() -> None:
    """The event ``settings`` masked the value, and the event before it showed it."""
    inputs = [
        Tab(id="keys", label="Keys", inputs=[TextInput(id="api_key", label="Key", initial="s3")]),
        Select(id="model", label="Model", values=["small"], initial_value="small"),
    ]
    (line,) = lines(("settings_form", {"inputs": msgspec.to_builtins(inputs)}))
    keys, model = json.loads(detail(line))["inputs"]
    assert keys["inputs"][0]["initial"] == MASK
    assert (model["initial"], model["initial_value"]) == ("small", "small")


def test_questions_and_their_answers() -> None:
    question, answer = lines(
        ("ask", {"call": "c", "kind": "text", "content": "Name?"}),
        client_says("answer", {"call": "c", "data": {"content": "Ann"}}, seq=2),
        ("ask_closed", {"call": "c", "outcome": "answered"}),
    )
    assert marks(question) == ["question", "answered"]
    assert (answer.kind, texts([answer]), marks(answer)) == ("client", ["Ann"], ["answer"])


def test_the_choice_between_buttons_is_shown_by_what_they_say() -> None:
    actions = [{"id": "a1", "name": "size", "label": "Small"}, {"id": "a2", "name": "size"}]
    _question, small, other, unknown = lines(
        ("ask", {"call": "c", "kind": "action", "content": "Which?", "actions": actions}),
        client_says("answer", {"call": "c", "data": {"id": "a1"}}, seq=2),
        client_says("answer", {"call": "c", "data": {"id": "a2"}}, seq=3),
        client_says("answer", {"call": "c", "data": {"id": "a9"}}, seq=4),
    )
    assert texts([small, other]) == ["Small", "size"]
    assert "a9" in texts([unknown])[0]


def test_buttons_are_named_and_of_a_pressed_one_the_payload_is_shown() -> None:
    button = {"id": "1", "name": "pay", "icon": "card", "message": "2", "payload": {"token": "x"}}
    message, named, labelled, alike, bare = lines(
        ("message", said("1", "?", actions=[{"name": "y", "label": "Yes"}, {"name": "no"}])),
        client_says("action", button, seq=2),
        client_says("action", button | {"label": "Pay now"}, seq=3),
        client_says("action", button | {"label": "Pay"}, seq=4),
        client_says("action", button | {"payload": {}}, seq=5),
    )
    assert message.extras == ["Actions: Yes, no"]
    assert named.title == "Action: pay"
    assert labelled.title == "Action: Pay now (pay)"
    assert alike.title == "Action: Pay"
    assert json.loads(detail(named)) == {"token": MASK}
    assert bare.detail is None


def test_times_are_of_the_time_zone_that_the_page_is_in() -> None:
    (line,) = lines(("message", said("1", "Hi")))
    with timezone.override(timezone.get_fixed_timezone(13 * 60)):
        assert (str(line.day), line.clock) == ("2026-05-02", "01:00:00")
        assert line.hint == "Entry 1, 2026-05-02 01:00:00"


def test_long_data_of_events_is_folded() -> None:
    short, long = lines(("a", {"x": [1, 2]}), ("b", {str(n): "some text" for n in range(20)}))
    assert not short.folded
    assert long.folded


@pytest.mark.parametrize("data", [None, [], "text", 5, {"content": {"a": [1]}}, {"id": [1]}, {}])
@pytest.mark.parametrize(
    "name", ["message", "message_update", "message_remove", "ask", "ask_closed", "error", "action"]
)
def test_data_of_any_shape_makes_a_line(name: str, data: object) -> None:
    assert len(lines((name, data))) == 1
    assert len(lines(client_says(name, data))) == 1


@pytest.mark.parametrize("name", ["message", "action", "custom"])
@pytest.mark.parametrize("reveal", [False, True])
def test_data_that_is_nested_too_deep_makes_a_line(name: str, reveal: bool) -> None:
    deep = '{"content": ' * 700 + "1" + "}" * 700
    (line,) = lines(logged(name, deep), reveal=reveal)
    shown = line.text or line.detail
    assert shown is not None
    # How deep Python goes depends on its version.
    assert shown.text.startswith(("too long or damaged", '{\n  "content": {'))


def test_a_message_whose_json_was_cut_off_is_shown_as_far_as_it_goes() -> None:
    text = json.dumps(said("1", 'He said: "all' + " the words" * 9999))[:50_000]
    (line,) = lines(logged("message", text))
    assert line.text is not None
    assert line.text.text.startswith('He said: "all the words')
    assert len(line.text.text) == MAX_TEXT
    assert marks(line) == ["too long or damaged; not shown in full"]


def test_other_data_that_was_cut_off_is_shown_only_to_those_who_may_see_secrets() -> None:
    entry = logged("custom", '{"password": "hunter2')
    assert lines(entry)[0].detail is None
    assert lines(entry, reveal=True)[0].detail is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (12, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (360_000, "4 d 4 h")],
)
def test_durations(seconds: int, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


# With rows


def make_session(entries: int = 0, **values: Any) -> ChatSession:
    """Store a session with that many messages in its log."""
    given = {
        "chat": "bots.counter",
        "token_hash": "TOKENHASH",
        "previous_token_hash": "OLDTOKENHASH",
        "head": entries,
    }
    session = session_row(**given | values)
    SessionEvent.objects.bulk_create(
        SessionEvent(
            session=session,
            seq=seq,
            name="message",
            data=said(str(seq), f"entry no. {seq};"),
            created_at=session.created_at,
        )
        for seq in range(1, entries + 1)
    )
    return session


@pytest.fixture
def web_1() -> Worker:
    return worker_row(hostname="web-1", pid=42)


def chosen(action: str, *sessions: ChatSession, **more: str) -> dict[str, Any]:
    """The form of the list with an action and sessions that were chosen."""
    return {"action": action, "_selected_action": [str(one.pk) for one in sessions], **more}


def act(client: Client, action: str, *sessions: ChatSession, **more: str) -> list[str]:
    """Run an action of the list, and return the messages that it leaves."""
    response = client.post(reverse(LIST), chosen(action, *sessions, **more), follow=True)
    assert response.status_code == 200
    return messages_of(response)


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def status_of(session: ChatSession) -> str:
    session.refresh_from_db()
    return session.status


# The list


@pytest.mark.parametrize("count", [1, 50])
def test_the_list_takes_the_same_queries_for_any_number_of_rows(
    count: int, web_1: Worker, admin_client: Client, django_assert_num_queries: Any
) -> None:
    for number in range(count):
        user = User.objects.create_user(f"user{number}")
        make_session(user=user, status="connected", worker=web_1)
    listed(admin_client)  # content types are looked up once per process
    # Login session and user; the count; the ids and the rows; the chats, client types and workers
    # to filter by.
    with django_assert_num_queries(8):
        assert len(listed(admin_client)) == count


def test_the_list_does_not_load_what_can_be_large(admin_client: Client) -> None:
    make_session(state='{"a": 1}')
    (session,) = listed(admin_client)
    large = {"state", "chat_settings", "chat_context", "streams", "asks", "actions", "inputs"}
    assert large | {"token_hash"} <= session.get_deferred_fields()


def test_the_list_says_status_user_and_events(web_1: Worker, admin_client: Client) -> None:
    make_session(status="connected", worker=web_1, events_in=3, events_out=1234, topic="A parcel")
    text = admin_client.get(reverse(LIST)).content.decode()
    assert "A parcel" in text
    assert "failed<" not in text
    ChatSession.objects.update(turns_failed=2)
    assert "2 failed<" in admin_client.get(reverse(LIST)).content.decode()
    assert "chatsessions-label-connected" in text
    assert "anonymous" in text
    assert "3 / 1,234" in text


def test_a_connection_whose_worker_is_silent_is_not_called_connected(
    web_1: Worker, admin_client: Client
) -> None:
    Worker.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    session = make_session(status="connected", worker=web_1)
    assert "worker silent" in page_of(admin_client, session)
    assert listed(admin_client, status="silent") == [session]


def test_filters(admin_client: Client, admin_user: User) -> None:
    mine = make_session(user=admin_user, chat="quiz", turns_failed=1)
    over = make_session(status="ended", end_reason="admin", client_type="copilot")
    assert set(listed(admin_client)) == {mine, over}
    assert listed(admin_client, status="away") == [mine]
    assert listed(admin_client, end_reason__exact="admin") == [over]
    assert listed(admin_client, chat="quiz") == [mine]
    assert listed(admin_client, client_type="copilot") == [over]
    assert listed(admin_client, logged_in="yes") == [mine]
    assert listed(admin_client, logged_in="no") == [over]
    assert listed(admin_client, failures="yes") == [mine]
    assert listed(admin_client, failures="no") == [over]
    assert listed(admin_client, status="nonsense") == []


def test_search_by_id_whole_or_partial_with_or_without_dashes(admin_client: Client) -> None:
    make_session(id=UUID("11111111-1111-4111-8111-111111111111"))
    wanted = make_session(id=UUID("4f1c9a2b-7d3e-4a5b-8c6d-0e1f2a3b4c5d"))
    for text in (
        "4f1c9a2b-7d3e-4a5b-8c6d-0e1f2a3b4c5d",
        "4F1C9A2B7D3E4A5B8C6D0E1F2A3B4C5D",
        "{4f1c9a2b-7d3e-4a5b-8c6d-0e1f2a3b4c5d}",
        "urn:uuid:4f1c9a2b-7d3e-4a5b-8c6d-0e1f2a3b4c5d",
        "4f1c9a2b",
        "9a2b-7d3e",
        "9a2b7d3e",
        " 2a3b4c5d ",
    ):
        assert listed(admin_client, q=text) == [wanted], text


def test_search_by_user_name_and_email(admin_client: Client) -> None:
    anna = make_session(user=User.objects.create_user("anna", "am@example.org"))
    make_session(user=User.objects.create_user("bob"))
    assert listed(admin_client, q="ANN") == [anna]
    assert listed(admin_client, q="am@example") == [anna]
    assert listed(admin_client, q=f"anna {str(anna.pk)[:8]}") == [anna]


def test_search_by_topic_thread_and_address(admin_client: Client) -> None:
    thread = uuid4()
    wanted = make_session(topic="Where is my parcel?", thread_id=thread, ip="2001:db8::1")
    other = make_session(topic="Cancel my order", ip="192.0.2.1")
    assert listed(admin_client, q="PARCEL") == [wanted]
    assert listed(admin_client, q="parcel? where my") == [wanted]
    assert set(listed(admin_client, q="my")) == {wanted, other}
    assert listed(admin_client, q=str(thread)) == [wanted]
    assert listed(admin_client, q="2001:DB8:0::1") == [wanted]
    assert listed(admin_client, q="192.0.2.1") == [other]
    assert listed(admin_client, q="192.0.2") == []


@pytest.mark.parametrize(
    "text",
    [
        "\0",
        "%",
        "_",
        "'\"\\",
        "-",
        "deadbeef" * 5,
        "x" * 60_000,
        "a b " * 2000,
        "💥",
        "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    ],
)
def test_garbage_in_the_search_box_finds_nothing(text: str, admin_client: Client) -> None:
    make_session(user=User.objects.create_user("anna"))
    listed(admin_client, q=text)


def test_a_user_model_without_an_email_field(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for a project's own user model, which can be chosen once per process only."""
    monkeypatch.setattr(User, "EMAIL_FIELD", "no_such_field")
    monkeypatch.setattr(User, "USERNAME_FIELD", "first_name")
    anna = make_session(user=User.objects.create_user("x", first_name="Anna"))
    assert listed(admin_client, q="anna") == [anna]


# The page of one session


def test_nothing_can_be_added_or_edited(web_1: Worker, admin_client: Client) -> None:
    for row in (make_session(), web_1):
        name = f"admin:chatsessions_{row._meta.model_name}"
        assert admin_client.get(reverse(f"{name}_add")).status_code == 403
        change = reverse(f"{name}_change", args=[row.pk])
        assert admin_client.post(change, {"chat": "changed", "pid": 1}).status_code == 403
        assert not admin_client.get(change).context["adminform"].form.fields
    delete = reverse("admin:chatsessions_worker_delete", args=[web_1.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert not admin.site.is_registered(SessionEvent)


def test_an_unknown_session_is_told(admin_client: Client, db: None) -> None:
    for unknown in (str(uuid4()), "nonsense"):
        response = admin_client.get(reverse(PAGE, args=[unknown]), follow=True)
        assert "Perhaps it was deleted?" in messages_of(response)[0]
        response = admin_client.post(reverse(END, args=[unknown]), follow=True)
        assert messages_of(response) == [f"There is no session {unknown} any more."]


def urls_of(session: ChatSession) -> list[str]:
    """The pages that show something of a session."""
    one = {"args": [session.pk]}
    return [reverse(PAGE, **one), reverse(DELETE, **one), reverse(LIST)]


def test_everything_that_others_wrote_is_escaped(admin_client: Client) -> None:
    session = make_session(
        user=User.objects.create_user(EVIL),
        user_agent=EVIL,
        chat=EVIL,
        client_type=EVIL,
        profile=EVIL,
        language=EVIL[:30],
        state=json.dumps({EVIL: EVIL}),
        chat_settings={EVIL: EVIL},
    )
    say(session, "message", {"content": EVIL}, n=1)
    say(session, "message", {**said("1", EVIL), "author": EVIL, "files": [EVIL]})
    say(session, EVIL, {EVIL: EVIL})
    say(session, "error", {"code": EVIL, "detail": EVIL})
    say(session, "action", {"name": EVIL}, n=2)
    for url in urls_of(session):
        text = admin_client.get(url).content.decode()
        assert EVIL not in text
        # A chat's name may break, at dots; this one has none.
        assert SAFE in text


def test_there_is_nothing_inline_that_a_strict_csp_forbids(admin_client: Client) -> None:
    session = make_session(3, status="away", state='{"a": 1}')
    for url in urls_of(session):
        text = admin_client.get(url).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)


def test_token_hashes_are_never_shown(admin_client: Client) -> None:
    session = make_session()
    assert "TOKENHASH" not in page_of(admin_client, session)


def test_secrets_are_masked_without_the_permission() -> None:
    session = make_session(
        state=json.dumps({"open": "visible", "apiKey": "s3cret"}),
        chat_settings={"temperature": 1, "password": "s3cret"},
    )
    masked = page_of(staff("view_chatsession"), session)
    assert "visible" in masked
    assert MASK in masked
    assert "s3cret" not in masked
    whole = page_of(staff("view_chatsession", "view_secrets"), session)
    assert MASK not in whole
    assert "s3cret" in whole


def test_long_texts_are_cut(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MAX_SHOWN", 20)
    session = make_session(state=json.dumps("x" * 50))
    say(session, "message", said("1", "y" * (MAX_TEXT + 5)))
    text = page_of(admin_client, session)
    assert "x" * 19 in text
    assert "x" * 20 not in text
    assert "… and 32 more characters" in text
    assert "y" * MAX_TEXT in text
    assert "y" * (MAX_TEXT + 1) not in text
    assert "… and 5 more characters" in text


def test_empty_values_say_where_the_values_are(admin_client: Client, settings: Any) -> None:
    session = make_session()
    assert "has stored nothing" in page_of(admin_client, session)
    settings.CHATSESSIONS = {"USER_SESSION_STORE": "cache"}
    assert "live in the cache" in page_of(admin_client, session)


def test_a_session_that_is_gone_has_no_values() -> None:
    session = make_session(state='{"a": 1}')
    ChatSession.objects.all().delete()
    assert stored_values(session) is None


@pytest.mark.parametrize("entries", [3, 700])
def test_the_page_takes_the_same_queries_for_any_length_of_the_log(
    entries: int, web_1: Worker, admin_client: Client, django_assert_num_queries: Any
) -> None:
    session = make_session(entries, user=User.objects.create_user("anna"), worker=web_1)
    url = reverse(PAGE, args=[session.pk])
    admin_client.get(url)  # content types are looked up once per process
    # Login session and user; the session, its user, worker, state, chat settings and files; its
    # thread; the log; feedback on its messages, and how much there is in all.
    with django_assert_num_queries(12):
        admin_client.get(url)


def test_a_long_log_is_shown_in_pages(admin_client: Client) -> None:
    session = make_session(1100)

    def shown(**query: str) -> tuple[int, int, dict[str, str]]:
        response = admin_client.get(reverse(PAGE, args=[session.pk]), query)
        found = [line.seq for line in response.context["lines"]]
        assert found == list(range(found[0], found[-1] + 1))
        return found[0], found[-1], response.context["log_links"]

    first = "?before=1#transcript"
    assert shown() == (601, 1100, {"first": first, "earlier": "?before=601#transcript"})
    middle = {
        "first": first,
        "earlier": "?before=101#transcript",
        "later": "?#transcript",
        "latest": "?#transcript",
    }
    assert shown(before="601") == (101, 600, middle)
    assert shown(before="101") == (
        1,
        100,
        {"later": "?before=601#transcript", "latest": "?#transcript"},
    )
    later = {"later": "?before=1001#transcript", "latest": "?#transcript"}
    assert shown(before="1") == (1, 500, later)
    session.events.filter(seq__lte=300).delete()
    assert shown(before="1") == (301, 800, {"later": "?#transcript", "latest": "?#transcript"})
    session.events.filter(seq__lte=700).delete()
    assert shown(before="1") == (701, 1100, {})
    for garbage in ("", "x", "-1", "0", "9" * 30, "²"):
        assert shown(before=garbage)[1] == 1100


def test_the_links_between_pages_keep_the_rest_of_the_query(admin_client: Client) -> None:
    session = make_session(501)
    text = page_of(admin_client, session, _changelist_filters="status=away")
    assert "?_changelist_filters=status%3Daway&amp;before=2#transcript" in text


def test_a_log_that_lost_entries_or_has_none_says_so(admin_client: Client) -> None:
    session = make_session(20)
    session.events.filter(seq__lte=7).delete()
    assert "Entries 1 to 7 are no longer kept." in page_of(admin_client, session)
    session.events.all().delete()
    assert "There are no entries here." in page_of(admin_client, session)
    assert "Nothing has been said yet." in page_of(admin_client, make_session())


def test_of_a_huge_entry_only_a_part_is_fetched() -> None:
    session = make_session(1)
    SessionEvent.objects.update(data=said("1", "x" * 300_000))
    (entry,) = read_page(session).entries
    assert len(entry.data) == MAX_FETCHED


def test_what_sessions_have_in_common_leads_to_all_of_them(admin_client: Client) -> None:
    user = User.objects.create_user("anna")
    mine = [make_session(user=user, chat="a & b", ip="192.0.2.1") for _ in range(2)]
    make_session(chat="a", ip="192.0.2.2")
    text = page_of(admin_client, mine[0])
    found = re.findall(r'href="[^"?]*chatsession/\?([^"]+)">all sessions<', text)
    assert len(found) == 3
    for query in found:
        response = admin_client.get(f"{reverse(LIST)}?{unescape(query)}")
        assert set(response.context["cl"].result_list) == set(mine)


def test_links_lead_only_where_the_user_may_go(web_1: Worker) -> None:
    user = User.objects.create_user("anna")
    session = make_session(user=user, worker=web_1)
    to_user = reverse("admin:auth_user_change", args=[user.pk])
    to_worker = reverse("admin:chatsessions_worker_change", args=[web_1.pk])
    text = page_of(staff("view_chatsession"), session)
    assert to_user not in text
    assert to_worker not in text
    text = page_of(staff("view_chatsession", "view_user", "view_worker"), session)
    assert to_user in text
    assert to_worker in text


# Ending


@ends
def test_the_action_ends_what_is_not_over_notes_it_and_tells_the_rest(admin_client: Client) -> None:
    away = [make_session() for _ in range(2)]
    over = make_session(status="ended", end_reason="user", ended_at=timezone.now())
    told = act(admin_client, "end_selected", *away, over)
    assert told == ["2 sessions were ended.", "1 session had already ended."]
    for session in away:
        assert status_of(session) == "ended"
        assert session.end_reason == "admin"
    assert status_of(over) == "ended"
    assert over.end_reason == "user"
    noted = set(LogEntry.objects.values_list("object_id", "action_flag"))
    assert noted == {(str(session.pk), CHANGE) for session in away}


@ends
def test_a_session_that_lives_in_another_process_is_refused_with_the_reason(
    web_1: Worker, admin_client: Client
) -> None:
    away, live = make_session(), make_session(status="connected", worker=web_1)
    told = act(admin_client, "end_selected", away, live)
    assert told[0] == "1 session was ended."
    assert "1 session could not be ended" in told[1]
    assert status_of(away) == "ended"
    assert status_of(live) == "connected"


def test_a_session_that_breaks_stops_none_of_the_others_and_tells_no_details(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patched: an error that nobody has thought of cannot be brought about otherwise."""

    def break_down(session_id: UUID, reason: str) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(outside, "end_session", break_down)
    made = [make_session(), make_session()]
    assert act(admin_client, "end_selected", *made) == [
        "2 sessions could not be ended: RuntimeError, see the server's log."
    ]


@ends
def test_ending_takes_a_permission_of_its_own() -> None:
    session = make_session()
    looks_on = staff("view_chatsession", "change_chatsession", "delete_chatsession")
    act(looks_on, "end_selected", session)
    assert looks_on.post(reverse(END, args=[session.pk])).status_code == 403
    assert reverse(END, args=[session.pk]) not in page_of(looks_on, session)
    assert status_of(session) == "away"
    clerk = staff("view_chatsession", "end_chatsession")
    assert reverse(END, args=[session.pk]) in page_of(clerk, session)
    response = clerk.post(reverse(END, args=[session.pk]))
    assert response["Location"] == reverse(PAGE, args=[session.pk])
    assert status_of(session) == "ended"
    assert reverse(END, args=[session.pk]) not in page_of(clerk, session)


@ends
def test_ending_takes_a_post_with_a_csrf_token(admin_user: User, admin_client: Client) -> None:
    session = make_session()
    url = reverse(END, args=[session.pk])
    assert admin_client.get(url).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(url).status_code == 403
    assert strict.post(reverse(DELETE, args=[session.pk]), {"post": "yes"}).status_code == 403
    assert status_of(session) == "away"


@pytest.mark.parametrize("action", ["end_selected", "delete_selected"])
def test_too_many_sessions_at_once_are_refused(
    action: str, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SELECTED", 2)
    made = [make_session() for _ in range(3)]
    (told,) = act(admin_client, action, *made, post="yes")
    assert told.startswith("Select at most 2 sessions")
    assert {status_of(session) for session in made} == {"away"}


# Deleting


@ends
def test_sessions_are_ended_and_deleted_after_confirmation(admin_client: Client) -> None:
    made = [make_session(5), make_session(status="ended")]
    other = make_session(2)
    form = chosen("delete_selected", *made)
    text = admin_client.post(reverse(LIST), form).content.decode()
    assert "Sessions: 2" in text
    assert "Log entries: 5" in text
    assert "entry no." not in text
    assert ChatSession.objects.count() == 3
    told = act(admin_client, "delete_selected", *made, post="yes")
    assert told == ["Successfully deleted 2 sessions."]
    assert ChatSession.objects.get() == other
    assert SessionEvent.objects.count() == 2


@ends
def test_a_filtered_list_deletes_sessions_that_were_ended_for_it(admin_client: Client) -> None:
    session = make_session()
    form = chosen("delete_selected", session, post="yes")
    admin_client.post(f"{reverse(LIST)}?status=away", form)
    assert not ChatSession.objects.exists()


@ends
def test_unreachable_sessions_are_not_deleted(web_1: Worker, admin_client: Client) -> None:
    away, live = make_session(1), make_session(1, status="connected", worker=web_1)
    told = act(admin_client, "delete_selected", away, live, post="yes")
    assert "1 session was not deleted, because it could not be ended" in told[0]
    assert told[1:] == ["Successfully deleted 1 session."]
    assert ChatSession.objects.get() == live
    response = admin_client.post(reverse(DELETE, args=[live.pk]), {"post": "yes"}, follow=True)
    assert "was not deleted" in messages_of(response)[0]
    assert SessionEvent.objects.get().session == live


@ends
def test_a_damaged_session_cannot_be_ended_but_deleted(admin_client: Client) -> None:
    damaged = [make_session(state="{") for _ in range(2)]
    (told,) = act(admin_client, "end_selected", *damaged)
    assert told.startswith("2 sessions could not be ended: ")
    assert told.count("damaged") == 1
    act(admin_client, "delete_selected", *damaged, post="yes")
    assert not ChatSession.objects.exists()


@ends
def test_deleting_takes_its_permission() -> None:
    session = make_session()
    clerk = staff("view_chatsession", "end_chatsession")
    assert clerk.post(reverse(DELETE, args=[session.pk]), {"post": "yes"}).status_code == 403
    act(clerk, "delete_selected", session, post="yes")
    assert status_of(session) == "away"


@ends
def test_a_session_that_may_not_be_deleted_is_not_ended_for_it() -> None:
    """The session was ended first, and what refers to it was looked at afterwards."""
    session = make_session()
    stored_file(session)
    clerk = staff("view_chatsession", "delete_chatsession")
    admin.site.register(SessionFile)  # now its files take a permission, too
    try:
        assert clerk.post(reverse(DELETE, args=[session.pk]), {"post": "yes"}).status_code == 403
        form = chosen("delete_selected", session, post="yes")
        assert clerk.post(reverse(LIST), form).status_code == 403
    finally:
        admin.site.unregister(SessionFile)
    assert status_of(session) == "away"
    act(clerk, "delete_selected", session, post="yes")
    assert not ChatSession.objects.exists()


def test_deleting_a_session_with_a_long_log_fetches_none_of_it(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    session = make_session(1500, status="ended")
    url = reverse(DELETE, args=[session.pk])
    admin_client.get(url)
    with django_assert_max_num_queries(8) as queries:
        text = admin_client.get(url).content.decode()
    assert "Log entries: 1500" in text
    assert "entry no." not in text
    assert not fetched_entries(queries)
    with django_assert_max_num_queries(25) as queries:
        admin_client.post(url, {"post": "yes"})
    assert not fetched_entries(queries)
    assert not ChatSession.objects.exists()
    assert not SessionEvent.objects.exists()


def fetched_entries(queries: Any) -> list[str]:
    statements = [query["sql"] for query in queries.captured_queries]
    return [sql for sql in statements if re.search(r'SELECT.*sessionevent"\."data"', sql)]


def test_the_confirmation_names_a_bounded_number_of_sessions(admin_client: Client) -> None:
    made = [make_session() for _ in range(103)]
    form = chosen("delete_selected", *made)
    text = admin_client.post(reverse(LIST), form).content.decode()
    assert "Sessions: 103" in text
    assert "… and 3 more" in text
    assert text.count("Session: <a ") == 100


# Workers


WORKERS = "admin:chatsessions_worker_changelist"
WORKER = "admin:chatsessions_worker_change"


@pytest.fixture
def web_2() -> Worker:
    """Nobody has heard of it for a day."""
    long_ago = timezone.now() - timedelta(days=1)
    return worker_row(hostname="web-2", pid=7, started_at=long_ago, heartbeat_at=long_ago)


@pytest.mark.parametrize("count", [1, 12])
def test_workers_are_listed_with_their_sessions(
    count: int, web_1: Worker, web_2: Worker, admin_client: Client, django_assert_num_queries: Any
) -> None:
    for _ in range(count):
        make_session(status="connected", worker=web_1, running=1)
        make_session(status="away", worker=web_1)
        make_session(status="connected", worker=web_2)
    make_session(status="ended")
    url = reverse(WORKERS)
    admin_client.get(url)  # content types are looked up once per process
    # Login session and user; the count; the rows.
    with django_assert_num_queries(4):
        text = admin_client.get(url).content.decode()
    first, second = re.findall(r"<tr>.*?</tr>", text.partition("<tbody>")[2], re.DOTALL)
    assert "web-1" in first
    assert "alive" in first
    assert f'<a href="/admin/chatsessions/chatsession/?worker={web_1.pk}">{2 * count}</a>' in first
    assert f"?worker={web_1.pk}&amp;status=connected" in first
    assert re.findall(r"field-(\w+)_count\D*>(\d+)<", re.sub(r'href="[^"]*"', "", first)) == [
        ("session", str(2 * count)),
        ("connected", str(count)),
        ("running", str(count)),
    ]
    assert "web-2" in second
    assert "silent" in second
    assert "24 h ago" in second


def test_a_worker_that_is_alive_is_so_by_the_databases_clock(
    web_1: Worker, web_2: Worker, admin_client: Client
) -> None:
    """Whatever the clock says of the server that shows the page."""
    for minutes in (10, 0, -10):
        with clock_off(minutes):
            text = admin_client.get(reverse(WORKERS)).content.decode()
            assert text.count("chatsessions-label-connected") == 1
            assert text.count("chatsessions-label-silent") == 1
            for alive, name in (("yes", "web-1"), ("no", "web-2")):
                response = admin_client.get(reverse(WORKERS), {"alive": alive})
                assert [str(row.hostname) for row in response.context["cl"].result_list] == [name]


def test_a_worker_that_lives_and_stores_nothing_is_not_called_alive(
    web_1: Worker, web_2: Worker, admin_client: Client
) -> None:
    web_1.stuck_since = web_1.heartbeat_at - timedelta(seconds=75)
    web_1.save()
    text = admin_client.get(reverse(WORKERS)).content.decode()
    assert text.count("stores nothing for 1 min 15 s") == 1
    assert "chatsessions-label-connected" not in text


def test_a_clock_that_is_off_is_shown(web_1: Worker, admin_client: Client) -> None:
    text = admin_client.get(reverse(WORKERS)).content.decode()
    assert "ahead" not in text
    Worker.objects.update(clock_at=web_1.heartbeat_at + timedelta(minutes=10))
    assert "clock 10 min 0 s ahead" in admin_client.get(reverse(WORKERS)).content.decode()
    Worker.objects.update(clock_at=web_1.heartbeat_at - timedelta(minutes=10))
    assert "clock 10 min 0 s behind" in admin_client.get(reverse(WORKERS)).content.decode()


@pytest.mark.parametrize("count", [1, 12])
def test_the_page_of_a_worker_has_its_sessions(
    count: int, web_1: Worker, web_2: Worker, admin_client: Client, django_assert_num_queries: Any
) -> None:
    user = User.objects.create_user("anna")
    mine = [make_session(status="connected", worker=web_1, user=user) for _ in range(count)]
    other = make_session(status="connected", worker=web_2)
    url = reverse(WORKER, args=[web_1.pk])
    admin_client.get(url)  # content types are looked up once per process
    # Login session and user; the worker, and its sessions.
    with django_assert_num_queries(4):
        text = admin_client.get(url).content.decode()
    for session in mine:
        assert reverse(PAGE, args=[session.pk]) in text
    assert reverse(PAGE, args=[other.pk]) not in text
    assert text.count("anna") == count


def test_the_page_of_a_worker_shows_the_latest_of_many_sessions(
    web_1: Worker, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_SESSIONS", 2)
    now = timezone.now()
    ages = (50, 10, 30)
    old, new, middle = (
        make_session(worker=web_1, last_seen_at=now - timedelta(seconds=age)) for age in ages
    )
    text = admin_client.get(reverse(WORKER, args=[web_1.pk])).content.decode()
    shown = re.findall(r"chatsession/([\w-]+)/change", text)
    assert shown == [str(new.pk), str(middle.pk)]
    assert str(old.pk) not in text


def test_the_sessions_of_a_worker_are_for_those_who_may_see_sessions(web_1: Worker) -> None:
    session = make_session(worker=web_1)
    url = reverse(WORKER, args=[web_1.pk])
    assert str(session.pk) not in staff("view_worker").get(url).content.decode()
    both = staff("view_worker", "view_chatsession").get(url).content.decode()
    assert str(session.pk) in both


def test_sessions_say_which_worker_owns_them(
    web_1: Worker, web_2: Worker, admin_client: Client
) -> None:
    mine, others = make_session(worker=web_1), make_session(worker=web_2)
    free = make_session()
    text = admin_client.get(reverse(LIST)).content.decode()
    assert (
        f'<a href="?worker={web_1.pk}"><span class="chatsessions-owner" title="web-1:42">' in text
    )
    assert listed(admin_client, worker=str(web_1.pk)) == [mine]
    assert listed(admin_client, worker=str(web_2.pk)) == [others]
    assert listed(admin_client, worker="none") == [free]
    assert listed(admin_client, worker="nonsense") == []
    shown = page_of(admin_client, mine)
    assert reverse(WORKER, args=[web_1.pk]) in shown
    assert f"?worker={web_1.pk}" in shown


def test_the_workers_to_filter_by_are_the_latest(admin_client: Client) -> None:
    now = timezone.now()
    for number in range(listing.MAX_CHOICES + 5):
        worker_row(hostname=f"w{number:02}", heartbeat_at=now - timedelta(hours=number))
    text = admin_client.get(reverse(LIST)).content.decode()
    shown = re.findall(r"\?worker=[\w-]{36}\D*>\s*(w\d\d):1<", text)
    assert shown == [f"w{number:02}" for number in range(listing.MAX_CHOICES)]

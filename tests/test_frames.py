"""The codec of ``chatsessions.v1``: what it takes, what it refuses, and what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from chatsessions.exceptions import FrameError
from chatsessions.protocol import frames
from chatsessions.protocol.frames import MAX_DEPTH, MAX_SAFE_INTEGER, decode, decode_data, encode

from .support import wire


def event(name: str = "quiz", data: str = "1", n: int = 1) -> frames.ClientEvent:
    frame = decode(f'{{"type":"event","n":{n},"name":{json.dumps(name)},"data":{data}}}')
    assert isinstance(frame, frames.ClientEvent)
    return frame


def refused(text: str) -> FrameError:
    """The error of a frame that the codec refuses, as the published schema does if it is JSON."""
    try:
        content = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    else:
        assert not wire.allows("ClientFrame", content)
    with pytest.raises(FrameError) as caught:
        decode(text)
    assert caught.value.code == "bad_frame"
    assert 0 < len(caught.value.detail) <= 300
    return caught.value


def data_refused(
    event: frames.ClientEvent | frames.Answer, *, by_schema: bool = False
) -> FrameError:
    if by_schema:
        assert not wire.allows("ClientFrame", json.loads(encode(event)))
    with pytest.raises(FrameError) as caught:
        decode_data(event)
    assert caught.value.code == "bad_frame"
    assert caught.value.n == event.n
    return caught.value


# Client's frames


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ('{"type":"event","n":3,"name":"","data":{}}', 3),
        ('{"type":"no such","n":3}', 3),
        ('{"type":"answer","n":3}', 3),
        ('{"type":"event","n":0,"name":"x","data":{}}', None),
        ('{"type":"event","n":"3","name":"x","data":{}}', None),
        ('{"type":"event","name":"x","data":{"\\ud800":"\\ud800"},"n":3}', 3),
        ('{"type":"event","name":"\\ud800","data":{},"n":3}', 3),
        ('{"type":"event","name":"x","data":NaN,"n":3}', 3),
        ('{"type":"event","n":true,"name":"\\ud800","data":{}}', None),
        ('{"type":"event","n":3,"name":"x","data":' + "[" * 100_000, None),
        ("[3]", None),
        ('{"type":"event","n":3,"name":"x","data":}', None),
    ],
)
def test_a_frame_that_cannot_be_read_is_refused_with_its_number_if_that_can(
    text: str, n: int | None
) -> None:
    assert refused(text).n == n


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('{"type":"hello"}', frames.Hello()),
        (
            '{"type":"hello","session":"s","token":"t","received":7,"thread":"th","profile":"p",'
            '"client_type":"app","language":"de","env":{"KEY":"value"}}',
            frames.Hello("s", "t", 7, "th", "p", "app", "de", {"KEY": "value"}),
        ),
        (
            '{"type":"hello","session":null,"token":null,"thread":null,"profile":null,'
            '"language":null,"env":null}',
            frames.Hello(),
        ),
        ('{"type":"stop"}', frames.Stop()),
        ('{"type":"ack","seq":0}', frames.Ack(0)),
        (f'{{"type":"ack","seq":{MAX_SAFE_INTEGER}}}', frames.Ack(MAX_SAFE_INTEGER)),
        ('{"type":"end"}', frames.End()),
        ('{"type":"ping"}', frames.Ping()),
        ('{"type":"ping","silence":75}', frames.Ping(75)),
    ],
)
def test_every_client_frame_is_decoded(text: str, frame: frames.ClientFrame) -> None:
    assert decode(text) == frame


def test_a_hello_needs_nothing_but_its_type() -> None:
    hello = decode('{"type":"hello"}')
    assert isinstance(hello, frames.Hello)
    assert (hello.received, hello.client_type, hello.env) == (0, "webapp", None)


def test_an_event_is_decoded() -> None:
    frame = decode('{"type":"event","n":3,"name":"message","data":{"content":"hi"}}')
    assert isinstance(frame, frames.ClientEvent)
    assert (frame.n, frame.name, bytes(frame.data)) == (3, "message", b'{"content":"hi"}')


def test_an_answer_is_decoded() -> None:
    frame = decode('{"type":"answer","n":4,"call":"c1","data":"yes"}')
    assert isinstance(frame, frames.Answer)
    assert (frame.n, frame.call, decode_data(frame)) == (4, "c1", "yes")


def test_the_order_of_keys_does_not_matter() -> None:
    frame = decode('{"data":[1],"name":"quiz","n":1,"type":"event"}')
    assert isinstance(frame, frames.ClientEvent)
    assert decode_data(frame) == [1]


def test_unknown_keys_are_ignored() -> None:
    assert decode('{"type":"ping","later":{"version":[2]},"n":"x"}') == frames.Ping()


# What is refused


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        "{",
        '{"type":"ping"',
        '{"type":"ping"} {"type":"ping"}',
        '{"type":"ping",}',
        "{'type':'ping'}",
        '{"type":"ping"}\x00',
        '\ufeff{"type":"ping"}',
        "\x00",
    ],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("text", ["[]", '[{"type":"ping"}]', "5", '"ping"', "null", "true", "1e3"])
def test_what_is_not_an_object_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"n":1}',
        '{"type":null}',
        '{"type":5}',
        '{"type":["ping"]}',
        '{"type":"ping","silence":-1}',
        '{"type":"ping","silence":"long"}',
        '{"type":"unknown"}',
        '{"type":""}',
        '{"type":"Ping"}',
        # The server's own.
        '{"type":"welcome"}',
        '{"type":"accepted","n":1,"seq":1}',
        '{"type":"pong","head":1}',
    ],
)
def test_an_unknown_type_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"event","name":"quiz","data":1}',
        '{"type":"event","n":1,"data":1}',
        '{"type":"event","n":1,"name":"quiz"}',
        '{"type":"answer","call":"c","data":1}',
        '{"type":"answer","n":1,"data":1}',
        '{"type":"answer","n":1,"call":"c"}',
        '{"type":"ack"}',
    ],
)
def test_a_missing_key_is_refused(text: str) -> None:
    assert "missing" in refused(text).detail


@pytest.mark.parametrize(
    "n", ["0", "-1", "null", "true", '"1"', "1.5", "[1]", str(2**53), "9" * 30, "9" * 5000, "1e400"]
)
def test_an_event_has_a_positive_number_that_javascript_can_count(n: str) -> None:
    refused(f'{{"type":"event","n":{n},"name":"quiz","data":1}}')
    refused(f'{{"type":"answer","n":{n},"call":"c","data":1}}')


@pytest.mark.parametrize("seq", ["-1", "null", "false", '"0"', "0.5", str(2**53), "9" * 5000])
def test_a_position_is_a_count(seq: str) -> None:
    refused(f'{{"type":"ack","seq":{seq}}}')
    refused(f'{{"type":"hello","received":{seq}}}')


@pytest.mark.parametrize(
    "pair",
    [
        '"session":5',
        '"session":["s"]',
        '"token":5',
        '"thread":{}',
        '"profile":1',
        '"client_type":null',
        '"client_type":""',
        '"language":1',
        '"env":[]',
        '"env":"KEY=value"',
        '"env":{"KEY":1}',
        '"env":{"KEY":null}',
        f'"session":"{"x" * 101}"',
        f'"token":"{"x" * 201}"',
        f'"thread":"{"x" * 101}"',
        f'"profile":"{"x" * 201}"',
        f'"client_type":"{"x" * 51}"',
        f'"language":"{"x" * 36}"',
    ],
)
def test_a_hello_of_the_wrong_shape_is_refused(pair: str) -> None:
    refused(f'{{"type":"hello",{pair}}}')


@pytest.mark.parametrize("name", ["5", "null", '""', '["a"]', f'"{"x" * 101}"'])
def test_a_name_has_1_to_100_characters(name: str) -> None:
    refused(f'{{"type":"event","n":1,"name":{name},"data":1}}')


def test_a_name_may_have_100_characters_of_any_script() -> None:
    assert event(name="ж" * 100).name == "ж" * 100


@pytest.mark.parametrize("character", ["\x00", "\t", "\n", "\r", "\x1b", "\x1f", "\x7f", "\x85"])
@pytest.mark.parametrize("where", ["{}", "{}name", "na{}me", "name{}", "{0}{0}"])
def test_a_name_has_no_control_characters(character: str, where: str) -> None:
    name = json.dumps(where.format(character))
    refused(f'{{"type":"event","n":1,"name":{name},"data":1}}')


@pytest.mark.parametrize("key", ["profile", "client_type", "language"])
def test_what_a_hello_leaves_in_the_database_has_no_nul(key: str) -> None:
    """PostgreSQL would refuse the row."""
    refused(f'{{"type":"hello","{key}":"a\\u0000"}}')


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "nan", "01", "+1", ".5", "0x1"])
def test_what_json_does_not_know_as_a_number_is_refused(value: str) -> None:
    refused(f'{{"type":"event","n":1,"name":"quiz","data":{value}}}')


@pytest.mark.parametrize(
    "text",
    [
        "\ud800",
        '{"type":"ping","x":"\udfff"}',
        '{"type":"event","n":1,"name":"\\ud800","data":1}',
        '{"type":"event","n":1,"name":"\\ud800x","data":1}',
        '{"type":"event","n":1,"name":"\\udc00\\ud800","data":1}',
        '{"type":"\\ud800"}',
    ],
)
def test_lone_surrogates_are_refused(text: str) -> None:
    error = refused(text)
    assert encode(frames.Error(error.code, error.detail)), "the refusal itself can be sent"


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"ping","x":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"type":"ping","x":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
        '{"type":"event","n":1,"name":"quiz","data":' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 100_000,
        '{"type":' * 50_000,
    ],
)
def test_endless_nesting_is_refused(text: str) -> None:
    refused(text)


def test_a_refusal_is_short_whatever_was_sent() -> None:
    refused(json.dumps({"type": "x" * 100_000}))


@given(st.text())
def test_arbitrary_text_raises_nothing_but_frame_errors(text: str) -> None:
    with pytest.raises(FrameError):
        decode(text)


def jsonish() -> st.SearchStrategy[Any]:
    """Anything that ``json.dumps`` writes: also NaN, endless ints and lone surrogates."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters(codec=None))
        | st.sampled_from(["event", "answer", "hello", "ack", "ping", 10**400])
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        ),
        max_leaves=8,
    )


KEYS = ["n", "name", "data", "call", "seq", "session", "token", "received", "env", "x"]


@given(
    st.dictionaries(st.sampled_from(KEYS), jsonish(), max_size=5),
    st.sampled_from(["hello", "event", "answer", "stop", "ack", "end", "ping", "other"]),
    st.booleans(),
)
@example({"n": 1, "name": "quiz", "data": 10**4000}, "event", True)
@example({"n": 1, "name": "quiz", "data": float("nan")}, "event", True)
@example({"n": 1, "name": "quiz", "data": "\ud800"}, "event", True)
@example({"n": 1, "name": "quiz", "data": "\ud800"}, "event", False)
def test_almost_right_frames_raise_nothing_but_frame_errors(
    rest: dict[str, Any], kind: str, ascii_only: bool
) -> None:
    text = json.dumps({"type": kind, **rest}, ensure_ascii=ascii_only)
    error = None
    try:
        frame = decode(text)
        if isinstance(frame, frames.ClientEvent | frames.Answer):
            decode_data(frame)
    except FrameError as refusal:
        error = refusal
    assert error is None or error.code == "bad_frame"
    assert error is None or encode(frames.Error(error.code, error.detail))


# Data


@pytest.mark.parametrize(
    "data",
    ['{"b":1,"a":2,"b":3}', "[1.0, 1e2,\t-0.0]", '"\\u00e9\\/"', "123456789012345678901234567890"],
)
def test_data_keeps_its_bytes(data: str) -> None:
    assert bytes(event(data=data).data) == data.encode()


@given(jsonish())
def test_data_reaches_the_log_and_the_client_verbatim(value: Any) -> None:
    """Whatever the spacing and the escapes: neither storing nor replaying encodes it again."""
    data = json.dumps(value, indent=1)
    try:
        frame = event(data=data)
    except FrameError:
        return  # NaN, lone surrogates
    replayed = encode(frames.ServerEvent(1, "quiz", frame.data, n=1))
    assert data in replayed
    again = frames.decode_server(replayed)
    assert isinstance(again, frames.ServerEvent)
    assert bytes(again.data) == data.encode()


finite = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(finite)
@example(None)
def test_data_is_what_json_says_it_is(value: Any) -> None:
    assert decode_data(event(data=json.dumps(value))) == value


@pytest.mark.parametrize("data", ["1e999", "-1e999", "9" * 5000, "[" + "9" * 5000 + "]"])
def test_numbers_beyond_any_measure_are_refused(data: str) -> None:
    data_refused(event(data=data, n=5))


def test_lone_surrogates_in_data_are_refused() -> None:
    with pytest.raises(FrameError):
        decode_data(event(data='"\\ud800"'))


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_data_may_be_nested_as_deep_as_the_limit(brackets: str) -> None:
    first, last = ("[", "]") if brackets == "[]" else ('{"a":', "}")
    data = first * (MAX_DEPTH - 1) + brackets + last * (MAX_DEPTH - 1)
    assert decode_data(event(data=data))


@pytest.mark.parametrize("inner", ["", "1", '"["', "{}"])
def test_data_nested_deeper_than_the_limit_is_refused(inner: str) -> None:
    data = "[" * (MAX_DEPTH + 1) + inner + "]" * (MAX_DEPTH + 1)
    assert str(MAX_DEPTH) in data_refused(event(data=data, n=9)).detail


@pytest.mark.parametrize("inner", ["1", '"x"', "null", "true", '"["', '"}{"'])
def test_neither_a_leaf_nor_brackets_in_a_text_are_one_level_more(inner: str) -> None:
    decode_data(event(data="[" * MAX_DEPTH + inner + "]" * MAX_DEPTH))


def test_neighbours_are_no_nesting() -> None:
    decode_data(event(data="[[]," + "[" * (MAX_DEPTH - 1) + "1" + "]" * MAX_DEPTH))


def test_wide_data_is_not_deep() -> None:
    assert len(decode_data(event(data="[" + ",".join(["[]"] * 10_000) + "]"))) == 10_000


@pytest.mark.parametrize(
    "data",
    [
        '{"content":"hi"}',
        '{"content":""}',
        '{"content":"hi","id":"2f1d1c1e-0000-4000-8000-000000000000"}',
        '{"content":"hi","id":null,"files":["f1","f2"]}',
        '{"content":"hi","later":1}',
    ],
)
def test_a_message_has_a_content(data: str) -> None:
    assert decode_data(event(name="message", data=data)) == json.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        "null",
        '"hi"',
        "[]",
        "{}",
        '{"content":null}',
        '{"content":5}',
        '{"content":"hi","id":5}',
        '{"content":"hi","id":"no uuid"}',
        '{"content":"hi","id":""}',
        f'{{"content":"hi","id":"{"x" * 37}"}}',
        '{"content":"hi","files":"f1"}',
        '{"content":"hi","files":[1]}',
    ],
)
def test_a_message_of_the_wrong_shape_is_refused(data: str) -> None:
    data_refused(event(name="message", data=data, n=3), by_schema=True)


def test_settings_are_an_object() -> None:
    assert decode_data(event(name="settings", data='{"model":"x","n":[1]}')) == {
        "model": "x",
        "n": [1],
    }
    for data in ("null", "[]", '"x"', "5"):
        data_refused(event(name="settings", data=data), by_schema=True)


def test_events_of_the_application_and_answers_have_data_of_any_shape() -> None:
    assert decode_data(event(name="quiz", data='{"content":5}')) == {"content": 5}
    assert decode_data(frames.Answer(1, "message", Raw(b"[]"))) == []


def test_no_event_passes_for_an_answer() -> None:
    """In the log it could not be told from one."""
    data_refused(event(name="answer", data='{"call":"c","data":1}', n=2), by_schema=True)


def test_damaged_data_is_refused_with_its_number() -> None:
    """Raw data may come from elsewhere than ``decode``."""
    for raw in (b"", b"{", b"[1,]", b'"\xff"', b"NaN"):
        data_refused(frames.ClientEvent(7, "quiz", Raw(raw)))


# The server's frames

text = st.text(st.characters(codec="utf-8"), max_size=20)
plain_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)
count = st.integers(0, MAX_SAFE_INTEGER)
seconds = st.floats(0, 1000)
optional_count = st.just(msgspec.UNSET) | count
raw_data = finite.map(lambda value: Raw(json.dumps(value).encode()))

server_frames = st.one_of(
    st.builds(
        frames.Welcome,
        session=text,
        token=text,
        resumed=st.booleans(),
        reason=st.none() | st.sampled_from(["new", "unknown", "ended", "expired"]),
        received=count,
        first=count,
        head=count,
        turn=st.none() | count,
        heartbeat=seconds,
        max_frame=count,
    ),
    st.builds(frames.ServerEvent, count, text, raw_data, turn=optional_count, n=optional_count),
    st.builds(frames.Accepted, count, count),
    st.builds(frames.TurnStatus, count, text, st.sampled_from(["running", "done", "failed"])),
    st.builds(frames.Token, text, count, text),
    st.builds(frames.Stream, text, count, text),
    st.builds(
        frames.Error, text, text, n=optional_count, retry_after=st.just(msgspec.UNSET) | seconds
    ),
    st.builds(frames.Ended, text),
    st.builds(frames.Pong, count),
)
client_frames = st.one_of(
    st.builds(
        frames.Hello,
        session=st.none() | text,
        token=st.none() | text,
        received=count,
        thread=st.none() | text,
        profile=st.none() | plain_text,
        client_type=st.sampled_from(["webapp", "app"]),
        language=st.none() | plain_text,
        env=st.none() | st.dictionaries(text, text, max_size=3),
    ),
    st.builds(frames.ClientEvent, st.integers(1, MAX_SAFE_INTEGER), st.just("quiz"), raw_data),
    st.builds(frames.Answer, st.integers(1, MAX_SAFE_INTEGER), text, raw_data),
    st.builds(frames.Ack, count),
    st.sampled_from([frames.Stop(), frames.End(), frames.Ping()]),
)


def plain(frame: Any) -> dict[str, Any]:
    """A frame's fields, with the bytes of raw data in place of the object that holds them."""
    fields = {name: getattr(frame, name) for name in frame.__struct_fields__}
    return {k: bytes(v) if isinstance(v, Raw) else v for k, v in fields.items()}


@given(server_frames)
def test_a_server_frame_comes_back_as_it_was(frame: frames.ServerFrame) -> None:
    sent = encode(frame)
    assert isinstance(json.loads(sent)["type"], str)
    again = frames.decode_server(sent)
    assert type(again) is type(frame)
    assert plain(again) == plain(frame)


@given(client_frames)
def test_a_client_frame_comes_back_as_it_was(frame: frames.ClientFrame) -> None:
    sent = encode(frame)
    assert isinstance(json.loads(sent)["type"], str)
    again = decode(sent)
    assert type(again) is type(frame)
    assert plain(again) == plain(frame)


@pytest.mark.parametrize(
    ("frame", "content"),
    [
        (
            frames.ServerEvent(3, "message", Raw(b'{"id":"a"}')),
            {"type": "event", "seq": 3, "name": "message", "data": {"id": "a"}},
        ),
        (
            frames.ServerEvent(3, "x", Raw(b"1"), turn=0, n=2),
            {"type": "event", "seq": 3, "name": "x", "data": 1, "turn": 0, "n": 2},
        ),
        (frames.Accepted(2, 5), {"type": "accepted", "n": 2, "seq": 5}),
        (
            frames.TurnStatus(0, "start", "done"),
            {"type": "turn", "turn": 0, "name": "start", "status": "done"},
        ),
        (frames.Token("m", 0, "a"), {"type": "token", "message": "m", "index": 0, "text": "a"}),
        (
            frames.Stream("m", 2, "abc"),
            {"type": "stream", "message": "m", "index": 2, "content": "abc"},
        ),
        (
            frames.Error("busy", "wait", n=3, retry_after=1.5),
            {"type": "error", "code": "busy", "detail": "wait", "n": 3, "retry_after": 1.5},
        ),
        (frames.Error("busy", "wait"), {"type": "error", "code": "busy", "detail": "wait"}),
        (frames.Ended("user"), {"type": "ended", "reason": "user"}),
        (frames.Pong(9), {"type": "pong", "head": 9}),
    ],
)
def test_server_frames_look_as_the_protocol_says(
    frame: frames.ServerFrame, content: dict[str, Any]
) -> None:
    assert json.loads(encode(frame)) == content


def test_a_welcome_has_all_its_keys_also_where_they_are_null() -> None:
    welcome = frames.Welcome(
        session="s",
        token="t",
        resumed=True,
        reason=None,
        received=0,
        first=1,
        head=0,
        turn=None,
        heartbeat=20,
        max_frame=65536,
        window=100,
    )
    assert json.loads(encode(welcome)) == {
        "type": "welcome",
        "session": "s",
        "token": "t",
        "resumed": True,
        "reason": None,
        "received": 0,
        "first": 1,
        "head": 0,
        "turn": None,
        "heartbeat": 20,
        "max_frame": 65536,
        "window": 100,
    }


def test_close_codes_are_the_protocols() -> None:
    assert {code.name: code.value for code in frames.CloseCode} == {
        "SHUTTING_DOWN": 4000,
        "TOO_SLOW": 4008,
        "SILENT": 4012,
        "RATE_LIMITED": 4013,
        "PROTOCOL_VIOLATION": 4500,
        "NOT_ALLOWED": 4502,
        "SESSION_ENDED": 4503,
        "TOO_MANY_SESSIONS": 4504,
        "TAKEN_OVER": 4509,
        "FRAME_TOO_LARGE": 1009,
    }

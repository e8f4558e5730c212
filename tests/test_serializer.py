from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import enum
import functools
import json
import math
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.db.models import TextChoices
from django.utils.functional import SimpleLazyObject, lazystr
from django.utils.safestring import SafeString, mark_safe
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chatsessions.exceptions import ChatSessionsError, NotLoadable, NotStorable
from chatsessions.storage import serializer, storable
from chatsessions.storage.serializer import MAX_DEPTH, dumps, loads
from chatsessions.storage.storable import serializable

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def registry() -> Iterator[None]:
    """What a test registers is gone after it."""
    by_class, by_name = dict(storable.by_class), dict(storable.by_name)
    yield
    for live, before in ((storable.by_class, by_class), (storable.by_name, by_name)):
        live.clear()
        live.update(before)


# Registered classes


@serializable
@dataclasses.dataclass
class Cart:
    owner: str
    items: list[Any] = dataclasses.field(default_factory=list)
    note: Any = None


@serializable(name="test.Point")
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: Any
    y: Any = 0


@serializable
@dataclasses.dataclass
class Odd:
    """Has all that a call of __init__ would not give back."""

    shown: int
    start: dataclasses.InitVar[int]
    total: int = dataclasses.field(init=False)
    limit: ClassVar[int] = 3

    def __post_init__(self, start: int) -> None:
        self.total = start * 2
        self.shown += 1


@serializable
class Line(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    unit_price: Any
    count: int = 1


@serializable
class Pair(NamedTuple):
    left: Any
    right: Any = "r"


@serializable
class Colour(enum.Enum):
    RED = object()
    BLUE = threading.Lock()


@serializable
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@serializable
class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@serializable
class State(TextChoices):
    OPEN = "open", "Open"


@serializable
class Money:
    def __init__(self, amount: Any, currency: str) -> None:
        self.amount = amount
        self.currency = currency

    def to_storable(self) -> object:
        return (self.amount, self.currency)

    @classmethod
    def from_storable(cls, data: Any) -> Money:
        return cls(*data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.to_storable() == other.to_storable()

    def __hash__(self) -> int:
        return hash(self.to_storable())

    def __repr__(self) -> str:
        return f"Money({self.amount!r}, {self.currency!r})"


@serializable
class Tags(list[str]):
    def to_storable(self) -> object:
        return list(self)

    @classmethod
    def from_storable(cls, data: Any) -> Tags:
        return cls(data)


class Unregistered(NamedTuple):
    left: int


class Suit(enum.StrEnum):
    HEARTS = "hearts"


class Text(str):
    __slots__ = ()


def same(left: Any, right: Any) -> bool:
    """Equal and of the same types all the way down; NaN is NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, (set, frozenset)):
        # Not by repr: that of a set inside depends on the order in which it was filled.
        return same(sorted(left, key=dumps), sorted(right, key=dumps))
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, (datetime, time)):
        return (left.isoformat(), left.fold) == (right.isoformat(), right.fold)
    if isinstance(left, msgspec.Struct):
        return same(msgspec.structs.astuple(left), msgspec.structs.astuple(right))
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return all(same(getattr(left, name), getattr(right, name)) for name in names)
    if isinstance(left, Money):
        return same(left.to_storable(), right.to_storable())
    return bool(left == right)


# Values

surrogates = st.text(st.characters())  # all of Unicode, lone surrogates too
texts = st.one_of(st.text(), surrogates, st.sampled_from(["", "~#", "~#tuple", '"~#date":', "~/x"]))
zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.timezones(),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
    .filter(lambda offset: abs(offset) >= timedelta(seconds=1))
    .map(timezone),
)
hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    texts,
    st.binary(max_size=20),
    st.datetimes(timezones=zones),
    st.dates(),
    st.builds(time.replace, st.times(timezones=zones), fold=st.integers(0, 1)),
    st.timedeltas(),
    st.uuids(),
    st.decimals().filter(lambda value: not value.is_snan()),
    texts.map(SafeString),
    st.sampled_from([*Colour, *Level, *State, Access(0), Access.READ | Access.WRITE]),
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Point, x=inner, y=inner),
        st.builds(Line, unit_price=inner, count=st.integers()),
        st.builds(Pair, inner, inner),
        st.builds(Money, inner, texts),
    ),
    max_leaves=5,
)
values = st.recursive(
    st.one_of(
        hashable_leaves,
        st.binary(max_size=20).map(bytearray),
        st.sets(hashables, max_size=4),
        st.just(Decimal("sNaN12")),
        st.lists(st.text(), max_size=3).map(Tags),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(texts, inner, max_size=5),
        st.dictionaries(hashables, inner, max_size=4),
        st.builds(Cart, texts, st.lists(inner, max_size=3), inner),
        st.builds(Point, x=inner, y=inner),
        st.builds(Pair, inner, inner),
        st.builds(Money, inner, texts),
    ),
    max_leaves=20,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(values)
def test_what_is_read_is_equal_and_of_the_same_types(value: Any) -> None:
    data = dumps(value)

    assert same(loads(data), value)
    assert same(loads(data.decode()), value)


@given(values)
def test_what_is_written_is_strict_utf8_json(value: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads(dumps(value).decode("utf-8", "strict"), parse_constant=refuse)


@given(values)
def test_a_value_read_back_is_written_the_same(value: Any) -> None:
    """The journal compares texts to see what changed."""
    data = dumps(value)

    assert dumps(loads(data)) == data
    assert dumps(value) == data


@given(plain)
def test_plain_values_are_plain_json(value: Any) -> None:
    data = dumps(value)

    assert same(loads(data), value)
    if b'"~#' not in data and b"Infinity" not in data and all_finite(value):
        assert same(json.loads(data), value)


def all_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(all_finite, value.values()))
    if isinstance(value, list):
        return all(map(all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, '{"a":[1,2.5,null,true,"ü"]}'),
        ((1, [2]), '{"~#tuple":[1,[2]]}'),
        ({2, 1, 10}, '{"~#set":[1,10,2]}'),
        ({1: "a", "1": "b"}, '{"~#dict":[[1,"a"],["1","b"]]}'),
        (date(2024, 2, 29), '{"~#date":"2024-02-29"}'),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), '{"~#datetime":"2024-02-29T12:00:00+00:00"}'),
        (
            datetime(2024, 7, 1, 12, tzinfo=BERLIN),
            '{"~#datetime":["2024-07-01T12:00:00+02:00",0,"Europe/Berlin"]}',
        ),
        (timedelta(days=-1, seconds=3), '{"~#timedelta":[-1,3,0]}'),
        (Decimal("1.10"), '{"~#decimal":"1.10"}'),
        (b"\x00\xff", '{"~#bytes":"AP8="}'),
        (math.inf, '{"~#float":"inf"}'),
        (-math.inf, '{"~#float":"-inf"}'),
        (mark_safe("<b>"), '{"~#safe":"<b>"}'),
        (Point(x=1), '{"~#obj":["test.Point",{"x":1,"y":0}]}'),
        (Level.HIGH, f'{{"~#obj":["{__name__}.Level","HIGH"]}}'),
    ],
)
def test_the_notation(value: Any, text: str) -> None:
    """Stored data outlives a release: these texts must stay readable."""
    assert dumps(value).decode() == text
    assert same(loads(text), value)


@pytest.mark.parametrize(
    "value",
    [
        {"~#tuple": [1]},
        {"~#obj": ["os.system", "true"]},
        {"~#": 1, "a": 2},
        {"~#dict": {"~#dict": []}},
        [{"~#date": "2024-01-01"}, (1, {"~#set": []})],
        '{"~#tuple":[1]}',
        {"a": '"~#tuple":'},
        {"~": 1, "#": 2, "~ #": {"x": "~#"}},
    ],
)
def test_what_looks_like_a_tag_stays_itself(value: Any) -> None:
    assert same(loads(dumps(value)), value)


@pytest.mark.parametrize("digits", [18, 19, 20, 64, 4000, 5000, 20000])
def test_ints_have_any_length(digits: int) -> None:
    for value in (10**digits, -(10**digits)):
        assert loads(dumps({"n": [value]})) == {"n": [value]}
        assert loads(dumps({value})) == {value}


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
def test_ints_at_the_edge_of_64_bits(value: int) -> None:
    assert same(loads(dumps(value)), value)
    assert same(loads(dumps(["\ud800", value])), ["\ud800", value])


def test_surrogates_are_kept_apart() -> None:
    """Two lone surrogates side by side are not the character they would be in UTF-16."""
    for value in ("\ud83d\ude00", {"\udc00": "\ud800"}, SafeString("\ud800"), {"\ud800"}):
        assert same(loads(dumps(value)), value)


def test_a_time_zone_is_kept_with_both_sides_of_the_hour() -> None:
    early = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)
    late = early.replace(fold=1)

    for moment in (early, late, datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN)):
        read = loads(dumps(moment))
        assert read == moment
        assert read.tzinfo is BERLIN
        assert read.utcoffset() == moment.utcoffset()
    assert loads(dumps(early)).utcoffset() != loads(dumps(late)).utcoffset()


@pytest.mark.parametrize("zone", ["Nowhere/Atlantis", "../../etc/passwd", "Europe", "Asia/Tokyo"])
def test_a_zone_that_is_unknown_or_has_changed_leaves_the_offset(zone: str) -> None:
    read = loads(f'{{"~#datetime":["2024-07-01T12:00:00+02:00",0,"{zone}"]}}')

    assert read == datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert read.utcoffset() == timedelta(hours=2)


class Lunar(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return when and timedelta(hours=3)


def test_other_time_zones_become_an_offset() -> None:
    moment = datetime(2024, 7, 1, 12, tzinfo=Lunar())

    assert loads(dumps(moment)) == moment
    for moment in (time(12, tzinfo=Lunar()), time(12, tzinfo=timezone(timedelta(0, 0, 1)))):
        with pytest.raises(NotStorable, match="gives no offset, or not a second"):
            dumps(moment)


def test_equal_sets_are_equal_text() -> None:
    one, other = {0, 8}, {8, 0}  # 0 and 8 collide: each set has its own order

    assert list(one) != list(other)
    assert dumps(one) == dumps(other)


# Registered classes


def test_a_dataclass_comes_back_without_init() -> None:
    odd = Odd(shown=1, start=5)

    read = loads(dumps(odd))

    assert (read.shown, read.total) == (2, 10)
    assert read == odd


@pytest.mark.usefixtures("registry")
def test_missing_fields_take_defaults_and_gone_fields_are_left_out() -> None:
    assert loads(f'{{"~#obj":["{__name__}.Cart",{{"owner":"ann","gone":1}}]}}') == Cart("ann")
    assert loads(f'{{"~#obj":["{__name__}.Pair",{{"left":1,"gone":1}}]}}') == Pair(1)
    assert loads(f'{{"~#obj":["{__name__}.Line",{{"unit_price":1,"gone":1}}]}}') == Line(
        unit_price=1
    )
    for name in ("Cart", "Pair", "Line"):
        with pytest.raises(NotLoadable, match=rf"A stored '.*{name}' could not be made again"):
            loads(f'{{"~#obj":["{__name__}.{name}",{{}}]}}')


@pytest.mark.usefixtures("registry")
def test_one_name_is_one_class() -> None:
    with pytest.raises(ValueError, match=r"Other cannot be registered as 'test.Point'.*\.Point\."):

        @serializable(name="test.Point")
        @dataclasses.dataclass
        class Other:
            x: int

    assert type(loads(dumps(Point(x=1)))) is Point


@pytest.mark.usefixtures("registry")
def test_a_reloaded_class_replaces_the_former() -> None:
    def load_module() -> Any:
        @serializable
        @dataclasses.dataclass
        class Thing:
            x: int

        return Thing

    old = load_module()
    data = dumps(old(1))
    new = load_module()

    assert type(loads(data)) is new
    assert dumps(new(1)) == data
    with pytest.raises(NotStorable, match="was the module reloaded"):
        dumps(old(1))


@pytest.mark.usefixtures("registry")
def test_a_class_may_keep_its_old_name_beside_the_new() -> None:
    @serializable(name="new.Name")
    @serializable(name="old.Name")
    @dataclasses.dataclass
    class Moved:
        x: int

    assert dumps(Moved(1)) == b'{"~#obj":["new.Name",{"x":1}]}'
    assert loads(b'{"~#obj":["old.Name",{"x":1}]}') == Moved(1)


def test_the_default_name_is_module_and_qualified_name() -> None:
    assert f'"{__name__}.Cart"'.encode() in dumps(Cart("a"))
    assert serializable()(Cart) is Cart


@dataclasses.dataclass
class Counts(dict[str, int]):
    x: int


class Half:
    def to_storable(self) -> object:
        return 1


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (object, "needs the methods to_storable"),
        (Text, "needs the methods to_storable"),
        (Counts, "is more than its fields"),
        (Half, r"needs a method from_storable\(\) as well"),
        ("app.Name", "is for classes, not for 'app.Name'"),
    ],
)
def test_a_class_that_cannot_be_stored_is_not_registered(cls: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        serializable(cls)
    assert cls not in storable.by_class


@pytest.mark.usefixtures("registry")
def test_methods_come_before_fields_and_their_errors_are_told() -> None:
    @serializable(name="test.Fussy")
    @dataclasses.dataclass
    class Fussy:
        content: Any

        def to_storable(self) -> object:
            if self.content == "write":
                raise RuntimeError("not today")
            return self.content

        @classmethod
        def from_storable(cls, data: Any) -> Any:
            if data == "read":
                raise RuntimeError("not tomorrow")
            return cls(data) if data != "odd" else data

    assert dumps(Fussy(1)) == b'{"~#obj":["test.Fussy",1]}'
    with pytest.raises(NotStorable, match="RuntimeError: not today") as caught:
        dumps({"a": Fussy("write")}, path="key")
    assert caught.value.path == "key['a']"
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(NotStorable) as caught:
        dumps([Fussy({"x": object()})], path="key")
    assert caught.value.path == "key[0].to_storable()['x']"
    with pytest.raises(NotLoadable, match="RuntimeError: not tomorrow"):
        loads(dumps(Fussy("read")))
    with pytest.raises(NotLoadable, match=r"came back as a builtins\.str"):
        loads(dumps(Fussy("odd")))


# Refusals


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (object(), "history", object),
        ([1, (2, {"x": object()})], "history[1][1]['x']", object),
        ({"client": [Cart("a", note=object())]}, "history['client'][0].note", object),
        ([Line(unit_price=1j)], "history[0].unit_price", complex),
        ([Pair(1, len)], "history[0].right", type(len)),
        ({frozenset([1j])}, "history{element}{element}", complex),
        ({1j: 2}, "history{key}", complex),
        ({1: {"a": 1j}}, "history[1]['a']", complex),
        ([Point(x=0, y=Money(object(), "EUR"))], "history[0].y.to_storable()[0]", object),
        ([[0] * 9, [0] * 3 + [int]], "history[1][3]", type),
    ],
)
def test_a_refusal_says_where_and_what(value: Any, path: str, kind: type) -> None:
    with pytest.raises(NotStorable) as caught:
        dumps(value, path="history")

    assert caught.value.path == path
    assert caught.value.value_type is kind
    assert str(caught.value).startswith(f"{path} is a {kind.__module__}.{kind.__qualname__}")
    assert isinstance(caught.value, ChatSessionsError)
    assert isinstance(caught.value, TypeError)


class FakeModel:
    _meta = _default_manager = pk = None


@dataclasses.dataclass
class Unknown:
    x: int


class Inherited(Cart):
    pass


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (collections.OrderedDict(a=1), "come back as a plain dict"),
        (collections.defaultdict(list), "come back as a plain dict"),
        (collections.Counter("aab"), "come back as a plain dict"),
        (Unregistered(1), "come back as a plain tuple"),
        (Suit.HEARTS, "come back as a plain str"),
        (Text("x"), "come back as a plain str"),
        (type("MyInt", (int,), {})(1), "come back as a plain int"),
        (type("MyList", (list,), {})(), "come back as a plain list"),
        (type("MyDatetime", (datetime,), {})(2024, 1, 1), "come back as a plain datetime"),
        (type("MyFloat", (float,), {})(1), "come back as a plain float"),
        (lazystr("hello"), r"call str\(\) on it first"),
        (FakeModel(), "store its pk"),
        (Unknown(1), "Register its class with @chatsessions.serializable"),
        (Inherited("a"), "Register its class with @chatsessions.serializable"),
        (memoryview(b"x"), "in user_session.local"),
        (1j, "in user_session.local"),
        (range(3), "in user_session.local"),
        (iter([1]), "in user_session.local"),
        (collections.deque([1]), "in user_session.local"),
        (functools.partial(print), "in user_session.local"),
        (sys, "in user_session.local"),
        (..., "in user_session.local"),
    ],
)
def test_what_is_not_exactly_a_known_type_is_refused(value: Any, hint: str) -> None:
    for whole, path in ((value, "k"), ([value], "k[0]"), ({"a": {"b": value}}, "k['a']['b']")):
        with pytest.raises(NotStorable, match=hint) as caught:
            dumps(whole, path="k")
        assert caught.value.path == path
        assert caught.value.value_type is type(value)


def test_a_lazy_object_is_refused_without_a_look_at_what_it_stands_for() -> None:
    lazy = SimpleLazyObject(lambda: pytest.fail("was evaluated"))

    with pytest.raises(NotStorable, match=r"a lazy stand-in, such as request\.user"):
        dumps([lazy])


@pytest.mark.parametrize("key", [Suit.HEARTS, Text("x"), 1j, object()])
def test_keys_are_as_strict_as_values(key: Any) -> None:
    for value in ({key: 1}, {"a": 1, key: 1}, [{"a": {key: 1}}]):
        with pytest.raises(NotStorable) as caught:
            dumps(value)
        assert caught.value.path.endswith("{key}")


def test_an_empty_path_is_called_the_value() -> None:
    with pytest.raises(NotStorable, match=r"^the value is a builtins\.object"):
        dumps(object())


def test_a_dataclass_without_a_value_for_a_field_is_refused() -> None:
    with pytest.raises(NotStorable, match="AttributeError"):
        dumps(object.__new__(Point))


def cycles() -> Iterator[tuple[str, Any, str]]:
    items: list[Any] = []
    items.append(items)
    yield "list", items, "k[0]"
    pair: list[Any] = [1]
    pair += [pair, pair]
    yield "wide list", pair, "k[1]"
    many: list[Any] = []
    many.extend([many] * 1000)
    yield "very wide list", many, "k[0]"
    deep: dict[str, Any] = {"a": {"b": ()}}
    deep["a"]["b"] = (deep,)
    yield "dict", deep, "k['a']['b'][0]"
    cart = Cart("ann")
    cart.items.append(cart)
    yield "object", cart, "k.items[0]"


@pytest.mark.parametrize(
    ("value", "path"), [pytest.param(value, path, id=name) for name, value, path in cycles()]
)
def test_a_value_that_contains_itself_is_refused(value: Any, path: str) -> None:
    with pytest.raises(NotStorable, match="it contains itself") as caught:
        dumps(value, path="k")
    assert caught.value.path == path


NESTINGS = {
    "list": lambda inner: [inner],
    "dict": lambda inner: {"a": inner},
    "tuple": lambda inner: (inner,),
    "keys": lambda inner: {1: inner},
    "frozenset": lambda inner: frozenset([inner]),
    "dataclass": lambda inner: Point(x=inner),
    "methods": lambda inner: Money(inner, "EUR"),
}


def nested(name: str, depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = NESTINGS[name](value)
    return value


@pytest.mark.parametrize("name", NESTINGS)
def test_values_can_be_nested_to_the_limit(name: str) -> None:
    # A Money brings a tuple, which is a level too.
    limit = MAX_DEPTH // 2 if name == "methods" else MAX_DEPTH

    assert same(loads(dumps(nested(name, limit))), nested(name, limit))
    for depth in (limit + 1, limit + 60):
        with pytest.raises(NotStorable, match=f"{MAX_DEPTH} levels deep"):
            dumps(nested(name, depth))


def test_nesting_without_end_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(NotStorable, match="levels deep"):
        dumps(value)


def test_lists_that_share_elements_are_not_written_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serializer, "MAX_VALUES", 10_000)  # the real limit takes seconds
    value: list[Any] = []
    for _ in range(50):
        value = [value, value]

    with pytest.raises(NotStorable, match="more than 10,000 values"):
        dumps(value)
    assert len(loads(dumps([{"n": 1}] * 4_000))) == 4_000
    with pytest.raises(NotStorable, match="more than 10,000 values"):
        dumps([[0] * 100] * 101)


def test_a_stack_that_is_almost_used_up_is_a_refusal() -> None:
    outcomes = set()

    def descend() -> None:
        with contextlib.suppress(RecursionError):
            descend()
        with contextlib.suppress(RecursionError):
            try:
                dumps(value)
                outcomes.add("written")
            except NotStorable as error:
                outcomes.add(error.reason)

    value = nested("tuple", MAX_DEPTH)
    descend()

    assert outcomes == {"written", "nested too deeply for the stack"}


# Damage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1",
        b"nul",
        b"[1] 2",
        b'"\xff"',
        b'"\\ud800"',
        "\ud800",
        b"1e999",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"~#tuple":' * 400 + b"1" + b"}" * 400,
    ],
)
def test_damaged_json_is_not_loadable(data: bytes | str) -> None:
    with pytest.raises(NotLoadable):
        loads(data)


@pytest.mark.parametrize(
    ("tag", "contents"),
    [
        ("tuple", ['"abc"', "1", "null", '{"a":1}']),
        ("set", ['"abc"', "[[1]]", "[{}]"]),
        ("frozenset", ["[[]]"]),
        ("bytes", ["1", '"?"', '"abc"', "[1]"]),
        ("bytearray", ["3", '"?"']),
        ("datetime", ["1", '"x"', "[]", '["2024-01-01",7,null]', '["2024-01-01",0]']),
        ("date", ["1", '"2024-13-01"']),
        ("time", ["1", '"25:00"']),
        ("timedelta", ["1", '["a"]', "[1,2,3,4,5,6,7,8]", "[1e300,0,0]"]),
        ("uuid", ["1", '"x"', "null"]),
        ("decimal", ["1", '"x"', "[0,[1],0]"]),
        ("safe", ["1", "[]"]),
        ("str", ["1", '"?"']),
        ("int", ["1", '"xyz"']),
        ("float", ["1", '"x"']),
        ("dict", ["1", "[1]", "[[1]]", "[[[],1]]", "[[1,2,3]]"]),
        (
            "obj",
            ["1", "[]", '["test.Point"]', '["test.Point",[]]', '[["x"],1]', '["test.Point",1]'],
        ),
    ],
)
def test_a_damaged_tag_is_not_loadable(tag: str, contents: list[str]) -> None:
    for content in contents:
        with pytest.raises(NotLoadable, match=f"damaged '~#{tag}'"):
            loads(f'[1,{{"~#{tag}":{content}}}]')


def test_an_unknown_tag_is_not_loadable() -> None:
    with pytest.raises(NotLoadable, match="the tag '~#nope'"):
        loads(b'{"~#nope":1}')


def test_a_class_that_is_not_registered_says_what_to_do() -> None:
    with pytest.raises(NotLoadable, match=r"instance of 'shop\.Gone'.*name='shop\.Gone'") as caught:
        loads(b'{"a":[{"~#obj":["shop.Gone",{}]}]}')
    assert isinstance(caught.value, ChatSessionsError)


def test_damaged_enum_members_are_not_loadable() -> None:
    for name, content in (("Level", '"GONE"'), ("Access", "64"), ("Level", "[]")):
        with pytest.raises(NotLoadable, match="could not be made again"):
            loads(f'{{"~#obj":["{__name__}.{name}",{content}]}}')


@given(st.binary(max_size=40) | st.text(max_size=40) | values.map(dumps), st.data())
def test_loads_raises_nothing_else(data: bytes | str, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, len(data)))
    with contextlib.suppress(NotLoadable):
        loads(data[:start] + data[end:])


# All of it together


class Store(RuleBasedStateMachine):
    """
    A store of texts beside the live values: what is read is what was there when it was written.

    Classes come, and are replaced as by a reload, while instances of them are stored.
    """

    keys = st.sampled_from("abc")

    @initialize()
    def start(self) -> None:
        self.live: dict[str, Any] = {}
        self.stored: dict[str, bytes] = {}
        self.expected: dict[str, Any] = {}
        self.classes: dict[str, Any] = {}
        self.registries = dict(storable.by_class), dict(storable.by_name)

    def teardown(self) -> None:
        for live, before in zip(
            (storable.by_class, storable.by_name), self.registries, strict=True
        ):
            live.clear()
            live.update(before)

    @rule(name=st.sampled_from(["One", "Two"]), frozen=st.booleans())
    def register(self, name: str, frozen: bool) -> None:
        made = dataclasses.make_dataclass(name, ["content"], frozen=frozen)
        made.__module__ = "reloaded"
        self.classes[name] = serializable(made)
        # Live and expected values move to the class as it is now.
        self.live = {key: self.renewed(value) for key, value in self.live.items()}
        self.expected = {key: self.renewed(value) for key, value in self.expected.items()}

    def renewed(self, value: Any) -> Any:
        if type(value).__module__ == "reloaded":
            return self.classes[type(value).__name__](self.renewed(value.content))
        if type(value) is list:
            return [self.renewed(item) for item in value]
        return value

    @rule(key=keys, value=values)
    def put(self, key: str, value: Any) -> None:
        self.live[key] = [value]

    @precondition(lambda self: self.live)
    @rule(data=st.data(), value=values)
    def mutate(self, data: st.DataObject, value: Any) -> None:
        items = self.live[data.draw(st.sampled_from(sorted(self.live)))]
        if data.draw(st.booleans()):
            items.append(value)
        else:
            items.pop(data.draw(st.integers(0, len(items) - 1))) if items else None

    @precondition(lambda self: self.live and self.classes)
    @rule(data=st.data())
    def put_instance(self, data: st.DataObject) -> None:
        items = self.live[data.draw(st.sampled_from(sorted(self.live)))]
        items.append(self.classes[data.draw(st.sampled_from(sorted(self.classes)))](list(items)))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.live)))
        self.stored[key] = dumps(self.live[key], path=key)
        self.expected[key] = copy.deepcopy(self.live[key])

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def fail_to_write(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.live)))
        self.live[key].append(object())
        with pytest.raises(NotStorable) as caught:
            dumps(self.live[key], path=key)
        assert caught.value.path == f"{key}[{len(self.live[key]) - 1}]"
        self.live[key].pop()

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.stored)))
        self.live[key] = loads(self.stored[key])

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        for key, text in getattr(self, "stored", {}).items():
            assert same(loads(text), self.expected[key])


Store.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestStore = Store.TestCase

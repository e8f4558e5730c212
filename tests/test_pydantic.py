"""Models of pydantic 2 in ``user_session``: registered as dataclasses are, or refused."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from chatsessions import Chat, Message, NotStorable, serializable, user_session
from chatsessions.storage.serializer import dumps, loads
from chatsessions.workers.worker import Worker

from .support.sessions import Client, until

pydantic = pytest.importorskip("pydantic")


@serializable(name="tests.pydantic.Item")
class Item(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    name: str
    price: Decimal = Decimal(1)
    day: date | None = None


@serializable(name="tests.pydantic.Order")
class Order(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    model_config = pydantic.ConfigDict(extra="allow")

    number: int = pydantic.Field(alias="no")
    items: list[Item] = pydantic.Field(default_factory=list)
    tags: set[str] = pydantic.Field(default_factory=set)
    _live: list[int] = pydantic.PrivateAttr(default_factory=list)

    @pydantic.computed_field
    def count(self) -> int:
        return len(self.items)


@serializable(name="tests.pydantic.Frozen")
class Frozen(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    model_config = pydantic.ConfigDict(frozen=True)

    x: int

    @pydantic.field_validator("x")
    @classmethod
    def small(cls, value: int) -> int:
        assert value < 10
        return value


@serializable(name="tests.pydantic.Names")
class Names(pydantic.RootModel[list[str]]):  # type: ignore[name-defined,misc]
    pass


class Unregistered(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    text: str


@pytest.mark.parametrize(
    "value",
    [
        Item(name="hat"),
        Item(name="hat", price=Decimal("2.50"), day=date(2026, 1, 1)),
        Order(no=1, items=[Item(name="hat")], tags={"a"}, note="extra", when=date(2026, 1, 1)),
        Order(no=1),
        Frozen(x=1),
        Frozen.model_construct(x=100),  # nothing is validated on the way back
        Names(["a", "b"]),
    ],
)
def test_a_registered_model_comes_back_as_it_was(value: Any) -> None:
    back = loads(dumps(value))
    assert type(back) is type(value)
    assert back == value
    assert back.model_fields_set == value.model_fields_set
    assert back.model_extra == value.model_extra
    assert back.model_dump(exclude_unset=True) == value.model_dump(exclude_unset=True)
    assert repr(back) == repr(value)


def test_private_attributes_are_those_of_a_new_model() -> None:
    order = Order(no=1)
    order._live.append(1)
    back = loads(dumps(order))
    assert back._live == []
    back.items.append(Item(name="hat"))
    assert back.count == 1
    assert back.model_copy(deep=True) == back


def test_a_model_that_has_changed_since_takes_defaults_and_drops_fields() -> None:
    stored = dumps(Item(name="hat", price=Decimal(2)))

    @serializable(name="tests.pydantic.Item2")
    class Item2(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        name: str
        colour: str = "red"
        parts: list[str] = pydantic.Field(default_factory=lambda: ["brim"])

    back = loads(stored.replace(b"pydantic.Item", b"pydantic.Item2"))
    assert back == Item2(name="hat")
    assert back.model_fields_set == {"name"}

    @serializable(name="tests.pydantic.Item3")
    class Item3(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        size: int

    with pytest.raises(Exception, match="no value for 'size'"):
        loads(stored.replace(b"pydantic.Item", b"pydantic.Item3"))
    assert Item3


def test_the_advice_is_what_works_for_a_model() -> None:
    """It was advised to register the class, which was then refused."""
    with pytest.raises(NotStorable) as caught:
        dumps([{"cart": Unregistered(text="x")}], path="history")
    assert caught.value.path == "history[0]['cart']"
    advice = str(caught.value)
    assert "@chatsessions.serializable" in advice
    assert ".model_dump()" in advice
    assert "user_session.local" not in advice
    assert loads(dumps(Unregistered(text="x").model_dump())) == {"text": "x"}


def test_a_model_inside_a_model_is_named_by_its_path() -> None:
    order = Order(no=1)
    order.items.append(Unregistered(text="x"))
    with pytest.raises(NotStorable) as caught:
        dumps(order, path="order")
    assert caught.value.path == "order.items[0]"


def test_a_model_of_version_1_is_refused_with_what_works() -> None:
    from pydantic.v1 import BaseModel

    class Old(BaseModel):  # type: ignore[misc]
        x: int

    with pytest.raises(TypeError, match=r"version 2.*to_storable"):
        serializable(Old)
    with pytest.raises(NotStorable, match=r"needs to_storable\(\) and from_storable\(\)"):
        dumps(Old(x=1))


@pytest.mark.django_db(transaction=True)
async def test_a_model_can_be_kept_in_a_session(worker: Worker, chat: Chat) -> None:
    @chat.on_message
    async def add(message: Message) -> None:
        order = user_session.get("order") or Order(no=1)
        order.items.append(Item(name=message.content))
        user_session["order"] = order
        await Message(f"{order.count}").send()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "hat"}) == "done"
    client.leave()
    await until(lambda: client.live.id not in worker.live)
    back = await Client.open(worker, chat, client.live.id, client.token)
    assert await back.run("message", {"content": "coat"}) == "done"
    assert client.texts + back.texts == ["1", "2"]

"""``get_chat_application()``: one line in ``asgi.py``, and what it lets in."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import override_settings
from django.urls import path

from chatsessions import Chat, ChatError
from chatsessions.asgi import get_chat_application
from chatsessions.consumers import ChatConsumer
from chatsessions.protocol.frames import SUBPROTOCOL
from chatsessions.testing.failures import server_log

from .support.communicator import Communicator

pytestmark = pytest.mark.django_db(transaction=True)


async def connects(application: Any, address: str, origin: str = "http://testserver") -> bool:
    """Whether the websocket is accepted."""
    line = Communicator(
        application,
        address,
        headers=[(b"origin", origin.encode()), (b"host", b"testserver")],
        subprotocols=[SUBPROTOCOL],
    )
    try:
        return (await line.connect())[0]
    finally:
        await line.disconnect()


async def test_chats_are_named_by_path_by_object_and_by_application(chat: Chat) -> None:
    application = get_chat_application(
        {
            "ws/path/": "demo_project.bots.counter.chat",
            "ws/module/": "demo_project.bots.tutorial",
            "ws/object/": chat,
            "ws/consumer/": ChatConsumer.as_asgi(chat=chat, login_required=True),
        },
        routes=[path("ws/more/", ChatConsumer.as_asgi(chat=chat))],
    )
    for name in ("path", "module", "object", "consumer", "more"):
        assert await connects(application, f"/ws/{name}/")


async def test_another_sites_page_is_refused_and_the_log_says_why(chat: Chat) -> None:
    application = get_chat_application({"ws/": chat})
    with server_log() as records:
        assert not await connects(application, "/ws/", "https://evil.example")
    [record] = records
    assert "its page's address is 'https://evil.example'" in record.getMessage()
    assert "ALLOWED_HOSTS" in record.getMessage()


async def test_what_the_log_says_of_an_origin_is_short_and_one_line(chat: Chat) -> None:
    application = get_chat_application({"ws/": chat})
    with server_log() as records:
        assert not await connects(application, "/ws/", "https://a\x1b" + "b" * 10_000)
    [record] = records
    assert len(record.getMessage()) < 400
    assert "\x1b" not in record.getMessage()


@pytest.mark.parametrize("origin", ["https://a[", "https://[::1", "//[x]"])
@pytest.mark.parametrize("hosts", [["testserver"], ["*"]], ids=str)
async def test_an_origin_that_is_no_url_is_refused_with_one_line(
    chat: Chat, origin: str, hosts: list[str]
) -> None:
    """The handshake ended in an exception."""
    with override_settings(ALLOWED_HOSTS=hosts):
        application = get_chat_application({"ws/": chat})
        with server_log() as records:
            assert not await connects(application, "/ws/", origin)
    [record] = records
    assert f"its page's address is {origin!r}" in record.getMessage()


async def test_a_client_without_an_origin_is_refused_and_the_log_says_why(chat: Chat) -> None:
    line = Communicator(get_chat_application({"ws/": chat}), "/ws/")
    with server_log() as records:
        assert not (await line.connect())[0]
        await line.disconnect()
    [record] = records
    assert "without an Origin was refused (403)" in record.getMessage()


async def test_http_is_djangos_or_what_is_given(chat: Chat) -> None:
    asked: list[str] = []

    async def http(scope: dict[str, Any], receive: Any, send: Any) -> None:
        asked.append(scope["path"])

    application = get_chat_application({"ws/": chat}, http=http)
    await application({"type": "http", "path": "/page/"}, None, None)
    assert asked == ["/page/"]


async def test_middleware_of_ones_own_says_who_the_user_is(chat: Chat) -> None:
    seen: list[str] = []

    def middleware(inner: Any) -> Any:
        async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
            seen.append(scope["path"])
            await inner({**scope, "user": AnonymousUser()}, receive, send)

        return application

    application = get_chat_application({"ws/": chat}, middleware=middleware)
    assert await connects(application, "/ws/")
    assert seen == ["/ws/"]


def test_a_chat_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(ChatError, match=r"there is no module 'no\.such\.chat'"):
        get_chat_application({"ws/": "no.such.chat"})


@override_settings(ALLOWED_HOSTS=["chat.example"])
async def test_the_hosts_are_those_of_the_settings(chat: Chat) -> None:
    application = get_chat_application({"ws/": chat})
    assert await connects(application, "/ws/", "https://chat.example")
    assert not await connects(application, "/ws/")

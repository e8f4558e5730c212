"""``ALLOWED_ORIGINS``: pages of other sites that may have a chat, and what browsers are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client

from chatsessions import Chat
from chatsessions.asgi import get_chat_application
from chatsessions.consumers import ChatConsumer
from chatsessions.testing.failures import server_log
from tests.test_asgi import connects

if TYPE_CHECKING:
    from pytest_django import Settings

SHOP, OTHER = "https://shop.example.com", "https://other.example.com"

SOME = UUID(int=1)
ADDRESSES = [
    "/chats/profiles/",
    f"/chats/{SOME}/files/",
    f"/chats/{SOME}/files/{SOME}/",
    f"/chats/{SOME}/entries/",
    f"/chats/{SOME}/export/",
]


@pytest.fixture(autouse=True)
def a_shop(settings: Settings) -> None:
    settings.CHATSESSIONS = {"ALLOWED_ORIGINS": [SHOP]}


def asked(client: Client, address: str, origin: str) -> Any:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return client.options(address, headers=headers)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_preflight_of_an_allowed_origin(client: Client, address: str) -> None:
    answer = asked(client, address, SHOP)
    assert answer.status_code == 204
    assert answer["Access-Control-Allow-Origin"] == SHOP
    assert {"GET", "POST"} <= set(answer["Access-Control-Allow-Methods"].split(", "))
    allowed = set(answer["Access-Control-Allow-Headers"].split(", "))
    assert {"Authorization", "Content-Type", "X-File-Name"} <= allowed
    assert "Access-Control-Allow-Credentials" not in answer
    assert "Origin" in answer["Vary"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_preflight_of_any_other_is_refused_and_the_log_says_why(
    client: Client, address: str
) -> None:
    with server_log() as records:
        answer = asked(client, address, OTHER)
    assert answer.status_code == 403
    assert "ALLOWED_ORIGINS" in answer.content.decode()
    assert "Access-Control-Allow-Origin" not in answer
    [message] = [record.getMessage() for record in records if record.name == "chatsessions.http"]
    assert repr(OTHER) in message
    assert "ALLOWED_ORIGINS" in message


def test_a_preflight_writes_one_line_of_the_log(client: Client) -> None:
    """Its path forged further lines."""
    with server_log() as records:
        answer = asked(client, f"/chats/a%0AERROR forged{'x' * 1000}/files/", OTHER)
    assert answer.status_code == 403
    [message] = [record.getMessage() for record in records if record.name == "chatsessions.http"]
    assert "/chats/a\\nERROR forged" in message
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.django_db
def test_an_answer_says_who_may_read_it(client: Client) -> None:
    """Refusals as well, so that the page can say what the server has said."""
    for address in ADDRESSES:
        answer = client.get(address, headers={"Origin": SHOP})
        assert answer["Access-Control-Allow-Origin"] == SHOP, address
        assert "Content-Disposition" in answer["Access-Control-Expose-Headers"]
        assert "Origin" in answer["Vary"]
        answer = client.get(address, headers={"Origin": OTHER})
        assert "Access-Control-Allow-Origin" not in answer


@pytest.mark.django_db
def test_a_project_that_allows_none_answers_as_ever(client: Client, settings: Settings) -> None:
    settings.CHATSESSIONS = {}
    answer = client.get("/chats/profiles/", headers={"Origin": SHOP})
    assert "Access-Control-Allow-Origin" not in answer
    assert "Origin" not in answer.get("Vary", "")
    assert asked(client, "/chats/profiles/", SHOP).status_code == 403


@pytest.mark.django_db(transaction=True)
async def test_a_websocket_is_compared_with_its_scheme_and_port(chat: Chat) -> None:
    application = get_chat_application({"ws/": chat})
    assert await connects(application, "/ws/", SHOP)
    for origin in (OTHER, f"{SHOP}:8443", SHOP.replace("https", "http"), f"{SHOP}.evil.example"):
        with server_log() as records:
            assert not await connects(application, "/ws/", origin)
        [record] = records
        assert "ALLOWED_ORIGINS" in record.getMessage()


CHAT = "https://chat.example.com"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("origin", "loose", "strict"),
    [
        (CHAT, True, True),
        ("http://chat.example.com", True, False),
        ("https://chat.example.com:8443", True, False),
        ("https://elsewhere.example.com", False, False),
    ],
)
async def test_hosts_let_other_schemes_and_ports_in_and_origins_do_not(
    chat: Chat, settings: Settings, origin: str, *, loose: bool, strict: bool
) -> None:
    """What docs/security.md says of Channels' own checks."""
    settings.ALLOWED_HOSTS = ["chat.example.com"]
    consumer = ChatConsumer.as_asgi(chat=chat)
    assert await connects(AllowedHostsOriginValidator(consumer), "/", origin) is loose
    assert await connects(OriginValidator(consumer, [CHAT]), "/", origin) is strict


@pytest.mark.parametrize(
    "value", [SHOP, ["shop.example.com"], [f"{SHOP}/"], ["*"], [SHOP.upper()], [None]]
)
def test_what_is_no_list_of_origins_is_an_error_of_check(settings: Settings, value: Any) -> None:
    settings.CHATSESSIONS = {"ALLOWED_ORIGINS": value}
    with pytest.raises(SystemCheckError, match=r"ALLOWED_ORIGINS.*not a list of origins"):
        call_command("check", "--tag", "chatsessions")

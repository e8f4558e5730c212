"""What docs/security.md says of Channels' check of origins: it compares hosts, unless told more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator

if TYPE_CHECKING:
    from pytest_django import Settings

ORIGIN = "https://chat.example.com"


async def is_let_in(application: Any, origin: str) -> bool:
    """Whether a handshake from a page of ``origin`` gets as far as the application."""
    scope = {"type": "websocket", "headers": [(b"origin", origin.encode())]}
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    await application(scope, receive, send)
    return sent == ["let in"]


async def let_in(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "let in"})


@pytest.mark.django_db  # Channels looks at the connections that other tests have left
@pytest.mark.parametrize(
    ("origin", "loose", "strict"),
    [
        (ORIGIN, True, True),
        ("http://chat.example.com", True, False),
        ("https://chat.example.com:8443", True, False),
        ("https://elsewhere.example.com", False, False),
    ],
)
async def test_hosts_let_other_schemes_and_ports_in_and_origins_do_not(
    settings: Settings, origin: str, *, loose: bool, strict: bool
) -> None:
    settings.ALLOWED_HOSTS = ["chat.example.com"]
    assert await is_let_in(AllowedHostsOriginValidator(let_in), origin) is loose
    assert await is_let_in(OriginValidator(let_in, [ORIGIN]), origin) is strict

"""A page of an application that runs in the test's event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from chatsessions import Chat
from chatsessions.consumers import ChatConsumer
from chatsessions.testing.transport import LOST, ApplicationTransport

from .client import StepClient
from .sessions import until


class Page(StepClient):
    """A :class:`StepClient` of a chat or an ASGI application, which acknowledges nothing."""

    def __init__(
        self,
        app: Any,
        *,
        ip: str = "192.0.2.1",
        user: Any = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(acks=False)
        self._app = ChatConsumer.as_asgi(chat=app) if isinstance(app, Chat) else app
        self._headers = list(headers)
        self._scope = {"client": (ip, 1)} | ({} if user is None else {"user": user})
        self._application: ApplicationTransport | None = None

    def _transport_with(self, **_options: Any) -> ApplicationTransport:
        self._application = ApplicationTransport(
            self._app, "/", headers=self._headers, scope=self._scope, patience=10
        )
        return self._application

    @classmethod
    async def visit(cls, app: Any, ip: str = "192.0.2.1", **hello: Any) -> Self:
        """Connect a page, say hello, wait for the answer, and leave; return the page."""
        page = await cls(app, ip=ip).connect()
        page.put("hello", **hello)
        await until(lambda: page.welcomed or not page.is_open)
        await page.leave()
        return page

    def put(self, kind: str, **keys: Any) -> None:
        """Give the server a frame at once, with the number that the test chooses."""
        assert self._application is not None, "not connected"
        self._put_frame({"type": kind} | keys)
        while (text := self.take_outgoing()) is not None:
            self._application.put(text)

    async def leave(self) -> None:
        """Lose the connection, and wait until the application has returned."""
        assert self._application is not None, "not connected"
        await self._application.close(LOST)
        await self._end_reader()
        if self._application.crash is not None:
            raise self._application.crash

    @property
    def credentials(self) -> dict[str, Any]:
        return {"session": self.session, "token": self.token}

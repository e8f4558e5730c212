"""The client of ``chatsessions.testing`` with the words of our tests, and one step at a time."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

from chatsessions.protocol import frames
from chatsessions.testing.client import ProtocolClient
from chatsessions.testing.conversation import Sent
from chatsessions.testing.transport import Transport

OUTCOMES = ("done", "failed", "stopped", "interrupted")

Frame = dict[str, Any]
Predicate = Callable[[Frame], bool] | Frame


class PageClient(ProtocolClient):
    """One chat page: what it says, and what it knows."""

    # The credentials for the next connection

    @property
    def session(self) -> Any:
        """The id of its session, as text; None if it has none."""
        return self._hello.session

    @session.setter
    def session(self, session: str | None) -> None:
        self._hello.session = session

    @property
    def token(self) -> Any:
        """As that of a conversation; None if it has none."""
        return self._hello.token

    @token.setter
    def token(self, token: str | None) -> None:
        self._hello.token = token

    def knows(self, other: PageClient) -> Self:
        """Use the session of ``other``, as a second tab of the same browser does."""
        self.session, self.token = other.session, other.token
        return self

    # Sending

    async def event(self, name: str, data: Any = None) -> int:
        """Number an event, send it as soon as there is a connection, and return its number."""
        return await self._send_numbered(Sent(name, data))

    async def message(self, content: str = "hello") -> int:
        """Send the next message of the user, and return its number."""
        return await self.event("message", {"content": content})

    async def answer(self, call: str, data: Any) -> int:
        """Answer a question, and return the number of the answer."""
        return await self._send_numbered(Sent("answer", data, call=call))

    async def send(self, frame: Frame | frames.ClientFrame) -> None:
        """Send a frame as it is."""
        self._put_frame(frame)
        await self.flush()

    async def stop(self) -> None:
        await self.send(frames.Stop())

    async def end(self) -> None:
        await self.send(frames.End())

    @property
    def unaccepted(self) -> dict[int, Sent]:
        """The events sent that the server has not accepted, by ``n``."""
        return dict(self._delivery.unaccepted)


class StepClient(PageClient):
    """
    One chat page, whose steps a test takes one by one.

    ``connect()`` opens a connection, ``hello()`` says hello, ``start()`` does both. ``resume()``
    connects again, and sends events again that the server has not accepted. Only ``resume()`` and
    ``resend()`` send an event again.
    """

    def __init__(self, *, acks: bool = True, bundles: bool = False) -> None:
        super().__init__(frames.Hello(bundles=bundles), acks=acks, repeats=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    @abstractmethod
    def _transport_with(self, **options: Any) -> Transport:
        """Return a new connection that is not open yet."""

    # The connection

    async def connect(self, **options: Any) -> Self:
        """Open the connection, without a hello."""
        assert not self.connected, "connected already"
        self.close_code = None
        transport = self._transport_with(**options)
        await transport.open()
        self._transport = transport
        self.begin()
        self._reader = asyncio.create_task(self._live(transport, is_open=True))
        return self

    async def knock(self, **keys: Any) -> Self:
        """Connect and say hello as :meth:`hello` does, without waiting for an answer."""
        await self.connect()
        self.say_hello(**keys)
        await self.flush()
        return self

    async def hello(self, *, timeout: float = 90.0, **keys: Any) -> Frame:
        """
        Say hello, and return the server's welcome.

        The hello asks for the client's session if it has one. ``keys`` are keys of the frame; None
        leaves a key out.
        """
        since = self.here
        self.say_hello(**keys)
        await self.flush()
        return await self.until({"type": "welcome"}, timeout, since=since)

    async def start(self, **keys: Any) -> Self:
        """Connect and say hello."""
        await self.connect()
        await self.hello(**keys)
        return self

    async def resume(self, *, resend: bool = True, **keys: Any) -> Frame:
        """Connect again, say hello, and send events again that were not accepted."""
        await self.close()
        await self.connect()
        welcome = await self.hello(**keys)
        if resend:
            await self.resend()
        return welcome

    async def close(self) -> None:
        """Close the connection in an orderly way, if it is open."""
        if self._transport is not None:
            await self._transport.close()
            await self._end_reader()

    async def closed(self, timeout: float = 90.0) -> int | None:
        """Wait until the server has closed the connection, and return the close code."""
        async with asyncio.timeout(timeout):
            await self._end_reader()
        return self.close_code

    @property
    def is_open(self) -> bool:
        return self.connected

    async def _end_reader(self) -> None:
        if self._reader is not None:
            await asyncio.shield(self._reader)
            self._reader = None

    # Sending

    async def send(self, frame: Frame | frames.ClientFrame) -> None:
        assert self.connected, "not connected"
        await super().send(frame)

    async def send_text(self, text: str | bytes) -> None:
        """Send any text or bytes. If the connection closes meanwhile, :meth:`closed` tells."""
        assert self._transport is not None, "not connected"
        await self._transport.send(text)

    async def resend(self) -> None:
        """Send events again that the server has not accepted."""
        self.send_again()
        await self.flush()

    async def ack(self, seq: int | None = None) -> None:
        self.acknowledge(seq)
        await self.flush()

    async def ping(self) -> Frame:
        """Ping, and return the pong. The server has then handled all frames sent before."""
        since = self.here
        await self.send({"type": "ping"})
        return await self.until({"type": "pong"}, since=since)

    # Waiting

    @property
    def here(self) -> int:
        """The current end of the record, to be passed as ``since``."""
        return len(self.record)

    async def until(self, wanted: Predicate, timeout: float = 90.0, *, since: int = 0) -> Frame:
        """
        Wait for the first frame from ``record[since]`` on that is ``wanted``, and return it.

        ``wanted`` is a function, or a dict of keys and values that the frame must have. Fails if
        the connection closes before, or after ``timeout`` seconds.
        """
        position = since

        def found() -> Frame | None:
            nonlocal position
            while position < len(self.record):
                recorded = self.record[position]
                position += 1
                if not recorded.sent and matches(recorded.frame, wanted):
                    return recorded.frame
            return None

        return await self._wait(found, timeout, str(wanted))

    async def caught_up(self) -> None:
        """Wait until the client has all entries that the welcome announced."""

        def is_caught_up() -> bool | None:
            welcome = self._welcome
            return (welcome is not None and self.welcomed and self.received >= welcome.head) or None

        await self._wait(is_caught_up, 90.0, "rest of the log")

    async def _wait(self, find: Callable[[], Any], timeout: float, what: str) -> Any:
        try:
            async with asyncio.timeout(timeout):
                while (found := find()) is None:
                    closed = f"closed with {self.close_code} before {what}; {self.tail()}"
                    assert self.connected, closed
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {what} within {timeout} s; {self.tail()}") from None
        return found

    async def outcome(self, turn: int, timeout: float = 90.0) -> str:
        """Wait for the end of a turn, and return its status."""
        frame = await self.until(
            lambda frame: (
                frame["type"] == "turn" and frame["turn"] == turn and frame["status"] in OUTCOMES
            ),
            timeout,
        )
        status: str = frame["status"]
        return status

    async def said(self, content: str, timeout: float = 90.0, *, since: int = 0) -> Frame:
        """Wait for a message of the bot with this content, and return its frame."""
        return await self.until(
            lambda frame: (
                frame["type"] == "event"
                and frame["name"] in ("message", "message_update")
                and frame["data"]["content"] == content
            ),
            timeout,
            since=since,
        )

    async def settled(self, timeout: float = 90.0) -> None:
        """Wait until the turn of every event that was sent has ended."""
        for n in range(1, self.next_n):
            await self.outcome(n, timeout)

    # Reading the record

    @property
    def told(self) -> list[Frame]:
        """All frames that the server has sent."""
        return [recorded.frame for recorded in self.record if not recorded.sent]

    def event_frames(self, name: str | None = None) -> list[Frame]:
        """Return the event frames of the server, all or those of one name."""
        return [frame for frame in self.of_type("event") if name in (None, frame["name"])]

    def of_type(self, kind: str, *, since: int = 0) -> list[Frame]:
        """Return the server's frames of one type."""
        return [
            recorded.frame
            for recorded in self.record[since:]
            if not recorded.sent and recorded.frame["type"] == kind
        ]

    @property
    def contents(self) -> list[str]:
        """The contents of the bot's messages, as a page shows them now."""
        return [message.content for message in self.messages if message.n is None]

    def tail(self) -> str:
        """Return the last frames as text, for the message of a failure."""
        told = [json.dumps(recorded.frame)[:300] for recorded in self.record[-8:]]
        return "the last frames were:\n" + "\n".join(told)


def matches(frame: Frame, wanted: Predicate) -> bool:
    if callable(wanted):
        return bool(wanted(frame))
    return all(key in frame and frame[key] == value for key, value in wanted.items())

"""``WebsocketSubscriber``: send a session's log to one connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from chatsessions.cluster.connected import ConnectedSession, LocalSubscriber
from chatsessions.conf import settings
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import SendWindow
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.log import Entry, Latest
from chatsessions.timers import deadline
from chatsessions.workers.limits import Replay
from chatsessions.workers.worker import get_worker

from .sender import Sender

logger = logging.getLogger("chatsessions.connection")

#: The most entries that are read at a time for a replay.
REPLAY_CHUNK = 200


class WebsocketSubscriber(LocalSubscriber):
    """Sends a session's log over one connection, from a position on and without a gap."""

    def __init__(
        self,
        served: LiveSession | ConnectedSession,
        sender: Sender,
        *,
        position: int,
        replay: Replay,
    ) -> None:
        self.served = served
        self._sender = sender
        self._position = position
        self._pace = replay
        self._window = SendWindow(
            max_events=settings.MAX_UNACKED_EVENTS, max_bytes=settings.MAX_UNACKED_BYTES
        )
        self.welcomed = False
        self._stopped = False
        self._caught_up = False
        self._withheld = False
        #: The index of the next token of each open stream whose text was sent as a whole.
        self._told: dict[str, int] = {}
        self._held: list[str] = []
        #: Set by an acknowledgement; made when a replay waits for one.
        self._acked: asyncio.Event | None = None
        self._replay: asyncio.Task[None] | None = None

    # Subscriber

    def entries(self, entries: Sequence[Entry]) -> None:
        if self._caught_up:
            for entry in entries:
                self._send_entry(entry, live=True)

    def frame(self, frame: frames.ServerFrame) -> None:
        if not self.welcomed:
            return
        if isinstance(frame, frames.TurnStatus):
            text = frames.encode(frame)
            if not self._caught_up:
                self._held.append(text)  # sent after the replay
            else:
                self._sender.send_frame(text, along=frame.status == "running")
        elif isinstance(frame, frames.PIECES):
            self._piece(frame)
        elif isinstance(frame, frames.Accepted) and frame.seq > self._position:
            pass  # a repeated event: its entry is sent later, with the n that tells the same
        else:
            self._sender.send_frame(frames.encode(frame))

    def _piece(self, frame: frames.Token | frames.Stream) -> None:
        """Send a piece of a stream. A connection that is behind gets the whole text later."""
        is_token = isinstance(frame, frames.Token)
        if not self._caught_up:
            return  # the replay ends with the whole text of every open stream
        if self._told and frame.index < self._told.get(frame.message, 0):
            return  # the whole text was sent while this piece waited for the journal
        if self._window.volatile_full:
            self._withheld = True
            return
        text = frames.encode(frame)
        self._window.volatile_bytes += len(text)
        self._sender.send_frame(text, can_wait=is_token)

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        self.stop()
        if ended is not None and self.welcomed:
            self._sender.send_frame(frames.encode(frames.Ended(ended)))
        self._sender.close(code)

    # The connection's side

    def welcome(
        self,
        token: str,
        *,
        resumed: bool,
        reason: str | None,
        owner: str = "",
        offers: Sequence[str] = (),
        latest: Latest | None = None,
    ) -> None:
        """
        Send the welcome and then the log. Called when the connection is stored.

        ``offers`` is what the chat offers. With ``latest`` the log begins there, unless no earlier
        entries are kept.
        """
        if self._stopped:
            return  # the client has left
        self.welcomed = True
        now = self.served.standing()
        if latest is not None and latest.first <= now.first:
            latest = None  # no earlier entries are kept
        first = now.first if latest is None else latest.first
        self._position = min(max(self._position, first - 1), now.stored)
        welcome = frames.Welcome(
            session=str(self.served.id),
            token=token,
            resumed=resumed,
            reason=reason,
            received=now.received,
            first=first,
            head=now.stored,
            turn=now.turn,
            heartbeat=settings.HEARTBEAT,
            max_frame=settings.MAX_FRAME_BYTES,
            window=settings.MAX_PENDING_EVENTS,
            yours=msgspec.UNSET if now.numbered == now.received else now.numbered,
            owner=owner,
            offers=list(offers) or msgspec.UNSET,
            earlier=msgspec.UNSET if latest is None else now.first,
            state=msgspec.UNSET if latest is None else [event_frame(one) for one in latest.state],
        )
        self._sender.send_frame(frames.encode(welcome))
        self._bring_up_to_date()

    def heard(self) -> None:
        """
        Note that the client has sent something.

        A welcomed client then has the session's token. Streams of which pieces were withheld are
        sent again, as whole texts.
        """
        if self.welcomed:
            self.served.client.confirm_token(self)
        self._window.volatile_bytes = 0
        if self._withheld:
            self._withheld = False
            self._send_streams()

    def ack(self, seq: int) -> None:
        """Note that the client has applied everything up to ``seq``."""
        self._window.ack(seq)
        if self._acked is not None:
            self._acked.set()

    def stop(self) -> None:
        """Send nothing more, unless the session is :meth:`moved` here from another worker."""
        self._stopped = True
        self._caught_up = False
        if self._replay is not None:
            self._replay.cancel()

    def moved(self, served: LiveSession) -> None:
        """Go on with ``served``: this worker now owns the session, and its claim is stored."""
        self.served = served
        self._stopped = False
        self._bring_up_to_date()

    # Sending

    def _bring_up_to_date(self) -> None:
        if self._position == self.served.standing().stored:
            self._go_live()
        else:
            self._replay = get_worker().start_task(self._catch_up(), "chatsessions-replay")

    async def _catch_up(self) -> None:
        """Send the stored log from the client's position on, as fast as the client applies it."""
        try:
            await self._replay_log()
        except Exception as error:
            logger.warning("Session %s: its log cannot be read: %s", self.served.id, error)
            # Without a close the client would wait for ever; after it, the client comes back.
            self._sender.close(frames.CloseCode.SHUTTING_DOWN)

    async def _replay_log(self) -> None:
        while self._position < self.served.standing().stored:
            await self._pace.room()
            entries = await self.served.read_log(self._position, REPLAY_CHUNK)
            if not entries or entries[0].seq != self._position + 1:
                # Trimmed meanwhile: only a new welcome can tell the client of the gap.
                self._sender.close(frames.CloseCode.SHUTTING_DOWN)
                return
            self._pace.took(sum(len(entry.data) for entry in entries))
            for entry in entries:
                if not await self._has_room():
                    self._sender.close(frames.CloseCode.TOO_SLOW)
                    return
                self._send_entry(entry, live=False)
        self._go_live()

    async def _has_room(self) -> bool:
        """Wait for the client's acknowledgements; return False if they do not come."""
        while self._window.half_full:
            self._acked = self._acked or asyncio.Event()
            self._acked.clear()
            try:
                async with deadline(2.5 * settings.HEARTBEAT):
                    await self._acked.wait()
            except TimeoutError:
                return False
        return True

    def _go_live(self) -> None:
        self._caught_up = True
        self._send_streams()
        held, self._held = self._held, []
        for text in held:
            self._sender.send_frame(text)

    def _send_streams(self) -> None:
        streams = [one for one in self.served.standing().streams if one.has_text]
        self._told = {stream.message: stream.index for stream in streams}
        for stream in streams:
            self._sender.send_frame(frames.encode(stream))

    def _send_entry(self, entry: Entry, *, live: bool) -> None:
        if entry.seq <= self._position:
            return  # the replay has sent it already
        n = entry.n if live else None
        text = frames.encode(event_frame(entry) if n is None else frames.Accepted(n, entry.seq))
        if self._told:
            self._told.pop(entry.closes or "", None)  # a new stream counts from 0 again
        self._position = entry.seq
        self._window.sent(entry.seq, len(text))
        self._sender.send_frame(text, along=n is not None)
        if live and self._window.full:
            self.stop()
            self._sender.close(frames.CloseCode.TOO_SLOW)


def event_frame(entry: Entry) -> frames.ServerEvent:
    """Return an entry of the log as a frame."""
    return frames.ServerEvent(
        seq=entry.seq,
        name=entry.name,
        data=msgspec.Raw(entry.data),
        turn=msgspec.UNSET if entry.turn is None else entry.turn,
        n=msgspec.UNSET if entry.n is None else entry.n,
    )

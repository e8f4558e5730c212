"""A client's frames that came to another worker than its session's, on their way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatsessions.exceptions import FrameError
from chatsessions.protocol import frames

if TYPE_CHECKING:
    from chatsessions.sessions.session import LiveSession
    from chatsessions.sessions.subscribers import Subscriber


def pack(frame: frames.ClientFrame) -> msgspec.Raw:
    """``frame`` as it goes from worker to worker."""
    return msgspec.Raw(frames.encode(frame).encode())


#: One for all: where the last that waits is this, another would stop nothing more.
STOP = pack(frames.Stop())


async def take(live: LiveSession, listener: Subscriber, raw: msgspec.Raw) -> bool:
    """Give the session a frame of the client that ``listener`` is; false if it refused it."""
    frame = frames.decode(bytes(raw).decode())
    if isinstance(frame, frames.End):
        live.end("user")
    elif isinstance(frame, frames.Stop):
        live.stop()
    elif isinstance(frame, frames.ClientEvent | frames.Answer):
        try:
            await live.receive(listener, frame, frames.decode_data(frame))
        except FrameError as error:
            listener.frame(frames.error_of(error))
            return False
    return True

"""Many clients of one server, and the measurements of them."""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .wire import BenchmarkError, Network, Socket, now


@dataclass(slots=True)
class Load:
    """What a crowd sent and received in one measurement. Times are in seconds."""

    sent: int = 0
    messages: int = 0
    #: Pieces of streaming messages.
    tokens: int = 0
    seconds: float = 0.0
    #: CPU seconds of this process, which runs all clients.
    client_cpu: float = 0.0
    #: The time from sending each message to its reply, and to the end of its turn.
    replies: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    #: How late the latest paced message was sent.
    lateness: float = 0.0

    @property
    def client_busy(self) -> float:
        """The share of its core that this process used. Near 1 the client limits the figures."""
        return self.client_cpu / self.seconds


class Client(Socket):
    """A client of the counter bot, which checks that each reply counts its message."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__(crowd.port, crowd.path, compressed=crowd.compressed)
        self.crowd = crowd
        self.sent = self.answered = 0
        #: When each message was sent that has no reply yet, or whose turn has not ended yet.
        self.unanswered: deque[float] = deque()
        self.unended: deque[float] = deque()

    def send_message(self) -> None:
        """Send the next message, and note the time."""
        self.sent += 1
        moment = now()
        self.unanswered.append(moment)
        self.unended.append(moment)
        self.say(self.message())

    def check(self, content: str) -> None:
        """Raise ``BenchmarkError`` unless a reply counts the oldest message without one."""
        self.answered += 1
        if content != f"You have sent {self.answered} message(s)!":
            raise BenchmarkError(f"message {self.answered} was answered by {content!r}")

    @abstractmethod
    def message(self) -> bytes:
        """Return the payload of the message that is being sent."""

    def come_back(self, *, whole: bool) -> None:
        """Resume on a new connection; report a greeting when no entry is missing."""
        raise BenchmarkError(f"{type(self).__name__} has no session to come back to")

    def command(self, name: str, data: str) -> None:
        """Send an event other than a message; ``data`` is JSON."""
        raise BenchmarkError(f"{type(self).__name__} sends messages only, not {name!r}")


class Crowd:
    """Clients of one kind and one server. Several crowds may share a network."""

    def __init__(
        self,
        network: Network,
        dialect: type[Client],
        *,
        port: int,
        path: str,
        compressed: bool = False,
    ) -> None:
        self.port = port
        self.path = path
        self.compressed = compressed
        self._network = network
        self._dialect = dialect
        self.clients: list[Client] = []
        self._greeted = self._settled = self._running = 0
        self.load = Load()
        self._sending_until = 0.0
        self._most: int | None = None

    # Reports of clients

    def greeted(self) -> None:
        self._greeted += 1

    def settled(self) -> None:
        """Count the end of a turn other than a message's: the chat's start, or a command's."""
        self._settled += 1

    def replied(self, client: Client) -> None:
        moment = now()
        self.load.replies.append(moment - client.unanswered.popleft())
        if moment < self._sending_until and self._may_send():
            self._send(client)

    def ended(self, client: Client) -> None:
        self._running -= 1
        self.load.ends.append(now() - client.unended.popleft())

    def _may_send(self) -> bool:
        return self._most is None or self.load.sent < self._most

    def _send(self, client: Client) -> None:
        self._running += 1
        self.load.sent += 1
        client.send_message()

    # Measurements

    def connect(self, count: int) -> Load:
        """Connect ``count`` clients at once; measure the time until the last one is greeted."""
        load = self._begin()
        greeted, settled = self._greeted + count, self._settled + count
        started = now()
        for _ in range(count):
            self.add()
        self._network.until(lambda: self._greeted >= greeted)
        load.messages = count
        load.seconds = now() - started
        self._network.until(lambda: self._settled >= settled)
        return self._finish(load)

    def closed_loop(
        self, seconds: float, clients: Sequence[Client] | None = None, *, most: int | None = None
    ) -> Load:
        """
        Have each client send its next message as soon as the last one is answered.

        End after ``seconds``, or when the clients have sent ``most`` messages together.
        """
        load = self._begin()
        started = now()
        self._sending_until = started + seconds
        self._most = most
        clients = self.clients if clients is None else clients
        for client in clients[:most]:
            self._send(client)
        self._network.until(lambda: not self._running)
        load.messages = len(load.replies)
        load.seconds = now() - started
        return self._finish(load)

    def paced(self, rate: float, seconds: float, clients: Sequence[Client] | None = None) -> Load:
        """Send ``rate`` messages per second in all, evenly, without waiting for replies."""
        load = self._begin()
        clients = self.clients if clients is None else clients
        started = now()
        for number in range(int(rate * seconds)):
            due = started + number / rate
            while (left := due - now()) > 0:
                self._network.step(left)
            load.lateness = max(load.lateness, -left)
            self._send(clients[number % len(clients)])
        self._network.until(lambda: not self._running)
        load.messages = len(load.replies)
        load.seconds = now() - started
        return self._finish(load)

    def one_each(self) -> Load:
        """Send one message from each client, and wait for the replies."""
        return self.closed_loop(0.0)

    def command(self, name: str, data: Any) -> Load:
        """Send an event from each client, and wait until the bots have handled all."""
        load = self._begin()
        settled = self._settled + len(self.clients)
        started = now()
        for client in self.clients:
            client.command(name, json.dumps(data))
        self._network.until(lambda: self._settled >= settled)
        load.messages = len(self.clients)
        load.seconds = now() - started
        return self._finish(load)

    def idle(self, seconds: float) -> None:
        """Send nothing but answers to pings for ``seconds``."""
        until = now() + seconds
        while (left := until - now()) > 0:
            self._network.step(left)

    def come_back(self, client: Client, *, whole: bool) -> Load:
        """Cut the connection of ``client``, and resume; with ``whole`` it gets its whole log."""
        load = self._begin()
        target = self._greeted + 1
        self._network.remove(client)
        started = now()
        client.come_back(whole=whole)
        self._network.add(client)
        self._network.until(lambda: self._greeted >= target)
        load.messages = 1
        load.seconds = now() - started
        return self._finish(load)

    # Clients

    def add(self) -> Client:
        """Add a client, which begins to connect."""
        client = self._dialect(self)
        self.clients.append(client)
        self._network.add(client)
        return client

    def remove(self, client: Client) -> None:
        """Remove a client, and close its connection."""
        self.clients.remove(client)
        self._network.remove(client)

    def close(self) -> None:
        for client in list(self.clients):
            self.remove(client)

    def _begin(self) -> Load:
        self._sending_until = 0.0
        self._most = None
        self._cpu = time.process_time()
        self.load = Load()
        return self.load

    def _finish(self, load: Load) -> Load:
        load.client_cpu = time.process_time() - self._cpu
        return load

"""Make the lines of a page from entries of the log. Pure functions, without queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import msgspec
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .values import Shown, cut, decode, dump, mask, one_line

#: Characters of one message or of one event's JSON that a page shows.
MAX_TEXT = 10_000
#: Actions and files of one message whose names a page shows.
MAX_NAMED = 20
#: Up to this length JSON stays on one line.
MAX_LINE = 90
#: JSON with more lines is folded, so that messages are easy to find.
MAX_LINES = 12

_OUTCOMES: dict[str, str | Promise] = {
    "failed": gettext_lazy("failed"),
    "stopped": gettext_lazy("stopped"),
    "interrupted": gettext_lazy("interrupted"),
}
_ANSWERED: dict[str, str | Promise] = {
    "answered": gettext_lazy("answered"),
    "timeout": gettext_lazy("not answered in time"),
    "cancelled": gettext_lazy("cancelled"),
}
#: The content of a message whose JSON was cut off.
_CUT_CONTENT = re.compile(
    r'\s*\{(?:\s*"(?:id|author|created_at)"\s*:\s*"[^"\\]*"\s*,)*'
    r'\s*"content"\s*:\s*"((?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*)'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """One entry of the log. ``data`` is its JSON text, which may have been cut off."""

    seq: int
    name: str
    data: str
    created_at: datetime
    n: int | None = None
    turn: int | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A remark on a line; ``kind`` is ``bad`` or ``note``."""

    kind: str
    text: str


@dataclass(slots=True, kw_only=True)
class Attached:
    """A file of a line; without a ``url`` it is not linked."""

    id: str
    name: str
    url: str = ""


@dataclass(slots=True, kw_only=True)
class Line:
    """
    One line of the page.

    ``kind`` is ``client`` or ``server`` (a message with ``text``), ``event`` (a ``title``, with
    ``detail`` as JSON) or ``error``.
    """

    seq: int
    at: datetime
    kind: str
    title: str
    text: Shown | None = None
    detail: Shown | None = None
    extras: list[str] = field(default_factory=list)
    files: list[Attached] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    removed: bool = False
    streaming: bool = False
    failure: bool = False

    # Properties, as a template would take ten times as long for them.

    @property
    def anchor(self) -> str:
        return f"entry-{self.seq}"

    @property
    def local(self) -> datetime:
        """The time in the time zone of the page."""
        return self.at if timezone.is_naive(self.at) else timezone.localtime(self.at)

    @property
    def day(self) -> date:
        return self.local.date()

    @property
    def clock(self) -> str:
        return f"{self.local:%H:%M:%S}"

    @property
    def hint(self) -> str:
        """The number and the exact time of the entry."""
        text = _("Entry %(seq)d, %(at)s")
        return text % {"seq": self.seq, "at": f"{self.local:%Y-%m-%d %H:%M:%S}"}

    @property
    def folded(self) -> bool:
        """Whether ``detail`` is folded."""
        return self.detail is not None and self.detail.lines > MAX_LINES

    def replace_with(self, new: Line) -> None:
        """Replace the content by a newer version; marked as edited, unless a stream has ended."""
        if not self.streaming:
            self.note(_("edited"))
        for name in ("title", "text", "detail", "extras", "files", "streaming", "failure"):
            setattr(self, name, getattr(new, name))

    def note(self, text: str) -> None:
        """Add a remark, if the line does not have it yet."""
        mark = Mark(kind="note", text=text)
        if mark not in self.marks:
            self.marks.append(mark)


def transcript(entries: Iterable[LoggedEvent], *, client: str, reveal: bool) -> list[Line]:
    """
    Return the lines for ``entries``, which are in the order of ``seq``.

    ``client`` is the name shown for the client's messages. Values of secret-looking keys are
    masked unless ``reveal``; the texts of messages are not masked.
    """
    builder = _Builder(client=client, reveal=reveal)
    for entry in entries:
        builder.add(entry)
    return builder.lines


class _Builder:
    """Adds lines one by one, and finds the line that a later entry changes."""

    def __init__(self, *, client: str, reveal: bool) -> None:
        self.client = client
        self.reveal = reveal
        self.lines: list[Line] = []
        #: By id; the client's by the number of their event, as it chooses their ids itself.
        self._messages: dict[str | int, Line] = {}
        self._asks: dict[str, Line] = {}
        #: The labels of the buttons of questions, by id.
        self._labels: dict[str, str] = {}

    def add(self, entry: LoggedEvent) -> None:
        try:
            data = decode(entry.data)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            line: Line | None = self._unreadable(entry)
        else:
            line = self._line(entry, data)
        if line is None:
            return
        if entry.status:
            outcome = str(_OUTCOMES.get(entry.status, entry.status))
            line.marks.append(Mark(kind="bad", text=outcome))
        self.lines.append(line)

    def _line(self, entry: LoggedEvent, data: Any) -> Line | None:
        readers = _FROM_SERVER if entry.n is None else _FROM_CLIENT
        reader = readers.get(entry.name)
        if reader is None or not isinstance(data, dict):
            return self._event(entry, data)
        return reader(self, entry, data)

    # From the client

    def _client_message(self, entry: LoggedEvent, data: dict[str, Any]) -> Line:
        return self._clients(entry, self._said(entry, "client", self.client, data))

    def _clients(self, entry: LoggedEvent, line: Line) -> Line:
        if entry.n is not None:
            self._messages[entry.n] = line
        return line

    def _answer(self, entry: LoggedEvent, data: dict[str, Any]) -> Line:
        answer = data.get("data", data)
        content = answer.get("content") if isinstance(answer, dict) else answer
        if isinstance(answer, dict) and isinstance(answer.get("id"), str):
            content = self._labels.get(answer["id"], content)
        line = self._line_of(entry, "client", self.client)
        if isinstance(answer, dict) and set(answer) == {"files"}:
            line.files = _files(answer)
        if not line.files:
            line.text = self._text(content if isinstance(content, str) else answer)
        line.note(_("answer"))
        return self._clients(entry, line)

    def _action(self, entry: LoggedEvent, data: dict[str, Any]) -> Line:
        """Make the line of a pressed button, with its payload."""
        line = self._event(entry, data.get("payload"))
        name, label = _text_of(data.get("name")), _text_of(data.get("label"))
        title = _("Action: %(name)s") % {"name": label or name}
        line.title = title if label.casefold() in ("", name.casefold()) else f"{title} ({name})"
        return line

    # From the server

    def _message(self, entry: LoggedEvent, data: dict[str, Any]) -> Line:
        line = self._version(entry, data)
        self._messages[_text_of(data.get("id"))] = line
        return line

    def _version(
        self, entry: LoggedEvent, data: dict[str, Any], *, of_client: bool = False
    ) -> Line:
        """Make the line of a message in this version."""
        kind, author = "server", _text_of(data.get("author"))
        if of_client:
            kind, author = "client", self.client
        line = self._said(entry, kind, author, data)
        line.streaming = data.get("streaming") is True
        if metadata := data.get("metadata"):
            line.failure = isinstance(metadata, dict) and metadata.get("error") is True
            line.detail = None if metadata == {"error": True} else self._json(metadata)
        return line

    def _message_update(self, entry: LoggedEvent, data: dict[str, Any]) -> Line | None:
        key = _key(data)
        old = self._messages.get(key)
        new = self._version(entry, data, of_client=isinstance(key, int))
        if old is None:
            self._messages[key] = new
            new.note(_("changes an earlier message"))
            return new
        if isinstance(key, int) and "files" not in data:
            new.files = old.files
        old.replace_with(new)
        return None

    def _message_remove(self, entry: LoggedEvent, data: dict[str, Any]) -> Line | None:
        line = self._messages.get(_key(data))
        if line is None:
            line = self._event(entry, data)
            line.title = _("An earlier message was removed")
            return line
        line.removed = True
        line.note(_("removed"))
        return None

    def _ask(self, entry: LoggedEvent, data: dict[str, Any]) -> Line:
        line = self._said(entry, "server", _text_of(data.get("author")), data)
        line.note(_("question"))
        self._asks[_text_of(data.get("call"))] = line
        actions = data.get("actions")
        for action in actions if isinstance(actions, list) else ():
            if isinstance(action, dict):
                self._labels[_text_of(action.get("id"))] = _name(action)
        return line

    def _ask_closed(self, entry: LoggedEvent, data: dict[str, Any]) -> Line | None:
        line = self._asks.get(_text_of(data.get("call")))
        if line is None:
            return self._event(entry, data)
        outcome = _text_of(data.get("outcome"))
        line.note(str(_ANSWERED.get(outcome, outcome)))
        return None

    def _error(self, entry: LoggedEvent, data: dict[str, Any]) -> Line:
        line = self._line_of(entry, "error", _text_of(data.get("code")))
        line.text = self._text(data.get("detail", ""))
        return line

    # Either side

    def _said(self, entry: LoggedEvent, kind: str, author: str, data: dict[str, Any]) -> Line:
        line = self._line_of(entry, kind, author)
        line.text = self._text(data.get("content", ""))
        line.extras = _names(_("Actions"), data, "actions")
        line.files = _files(data)
        return line

    def _event(self, entry: LoggedEvent, data: Any) -> Line:
        line = self._line_of(entry, "event", entry.name)
        if entry.n is not None:
            line.extras = [self.client]
        if data not in (None, {}, []):
            line.detail = self._json(data)
        return line

    def _unreadable(self, entry: LoggedEvent) -> Line:
        line = self._event(entry, None)
        line.note(_("too long or damaged; not shown in full"))
        if content := _CUT_CONTENT.match(entry.data):
            line.kind = "server" if entry.n is None else "client"
            line.text = self._text(_salvage(content[1]))
        elif self.reveal:
            line.detail = cut(entry.data, limit=MAX_TEXT)
        return line

    def _line_of(self, entry: LoggedEvent, kind: str, title: str) -> Line:
        return Line(seq=entry.seq, at=entry.created_at, kind=kind, title=title)

    def _text(self, content: Any) -> Shown:
        return cut(content, limit=MAX_TEXT) if isinstance(content, str) else self._json(content)

    def _json(self, data: Any) -> Shown:
        value = data if self.reveal else mask(data)
        short = dump(value, indent=None)
        return cut(short if len(short) <= MAX_LINE else dump(value), limit=MAX_TEXT)


_Reader = Callable[[_Builder, LoggedEvent, dict[str, Any]], Line | None]

_FROM_CLIENT: dict[str, _Reader] = {
    "message": _Builder._client_message,
    "answer": _Builder._answer,
    "action": _Builder._action,
}
_FROM_SERVER: dict[str, _Reader] = {
    "message": _Builder._message,
    "message_update": _Builder._message_update,
    "message_remove": _Builder._message_remove,
    "ask": _Builder._ask,
    "ask_closed": _Builder._ask_closed,
    "error": _Builder._error,
}


def _salvage(escaped: str) -> str:
    """Return the readable part of a JSON string whose end was cut off."""
    try:
        return str(decode(f'"{escaped}"'))
    except ValueError:  # such as half a surrogate pair at the end; shown as it is
        return escaped


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    return value[:200] if isinstance(value, str) else one_line(mask(value))


def _key(data: dict[str, Any]) -> str | int:
    """Return the key of the message that an entry changes: for the client's, its number."""
    n = data.get("n")
    return n if isinstance(n, int) else _text_of(data.get("id"))


def _names(title: str, data: dict[str, Any], key: str) -> list[str]:
    """Return ``["Actions: yes, no"]`` for a message with actions, else an empty list."""
    things = data.get(key)
    if not isinstance(things, list) or not things:
        return []
    return [f"{title}: {', '.join(map(_name, things[:MAX_NAMED]))}"]


def _files(data: dict[str, Any]) -> list[Attached]:
    """Return the files of a message; the client's message has only their ids."""
    files = data.get("files")
    return [
        Attached(id=_text_of(file.get("id") if isinstance(file, dict) else file), name=_name(file))
        for file in (files[:MAX_NAMED] if isinstance(files, list) else ())
    ]


def _name(thing: Any) -> str:
    if isinstance(thing, dict):
        thing = next((thing[key] for key in ("label", "name", "id") if thing.get(key)), thing)
    return _text_of(thing)

"""Make the lines of a page from entries of the log. Pure functions, without queries."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from chatsessions.handlers.messages import DEFAULT_AUTHOR
from chatsessions.models import SessionEvent, SessionFeedback
from chatsessions.storage.conversation import (
    MARKDOWN,
    ConversationMessage,
    ConversationReducer,
    Failure,
    FeedbackChange,
    MessageChange,
    Question,
    QuestionChange,
    StepChange,
    StepData,
)
from chatsessions.storage.log import Entry

from .labels import local_time
from .markdown import to_html
from .values import Shown, cut, decode, printed

#: Characters of one message or of one event's JSON that a page shows.
MAX_TEXT = 10_000
#: Characters of a line's title.
MAX_TITLE = 200
#: Characters of a name that is not a text, as JSON.
MAX_NAME = 120
#: Actions and files of one message whose names a page shows.
MAX_NAMED = 20
#: Characters of JSON that stay on one line; longer JSON is indented.
MAX_LINE = 90
#: Seconds of CPU time that a page spends on Markdown. What is left then is shown as it is written.
MAX_RENDERING = 2.0
#: JSON with more lines is folded, so that messages are easy to find.
MAX_LINES = 12

_OUTCOMES = dict(SessionEvent.Status.choices)
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


class LoggedEvent(Entry, kw_only=True):
    """One entry of the log. ``data`` is its JSON, which may have been cut off."""

    #: How its turn ended, for an event of the client.
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A remark on a line; ``kind`` is ``bad``, ``good`` or ``note``."""

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
    #: Whether ``text`` is Markdown; ``html`` is that text, rendered.
    is_markdown: bool = False
    html: SafeString | None = None
    detail: Shown | None = None
    extras: list[str] = field(default_factory=list)
    files: list[Attached] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    removed: bool = False
    streaming: bool = False
    failure: bool = False
    #: Whether ``detail`` is folded, however short it is.
    is_step: bool = False
    #: The comment of the user's feedback.
    comment: str = ""
    #: The turn that sent the entry.
    turn: int | None = None

    # Properties, because the same in a template takes ten times as long.

    @property
    def anchor(self) -> str:
        return f"entry-{self.seq}"

    @property
    def local(self) -> datetime:
        """The time in the time zone of the page."""
        return local_time(self.at)

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
        return self.detail is not None and (self.is_step or self.detail.lines > MAX_LINES)

    def replace_with(self, new: Line) -> None:
        """
        Replace the content by a newer version, and mark the line as edited.

        The end of a stream does not count as an edit.
        """
        if not self.streaming:
            self.note(_("edited"))
        for name in (
            "title",
            "text",
            "is_markdown",
            "detail",
            "extras",
            "files",
            "streaming",
            "failure",
        ):
            setattr(self, name, getattr(new, name))

    def note(self, text: str) -> None:
        """Add a remark, if the line does not have it yet."""
        mark = Mark(kind="note", text=text)
        if mark not in self.marks:
            self.marks.append(mark)


def transcript(
    entries: Iterable[LoggedEvent],
    *,
    session: UUID,
    client: str,
    reveal: bool,
    ratings: Mapping[str, SessionFeedback] | None = None,
) -> list[Line]:
    """
    Return the lines for ``entries``, which are in the order of ``seq``.

    ``client`` is the name shown for the client's messages. ``ratings`` is the feedback on messages,
    by their ids. Values of secret-looking keys are masked unless ``reveal``; the texts of messages
    are not masked.
    """
    builder = _Builder(session=session, client=client, reveal=reveal, ratings=ratings or {})
    for entry in entries:
        builder.add(entry)
    _render(builder.lines)
    return builder.lines


def _render(lines: list[Line]) -> None:
    """Render the Markdown of lines, the latest first, for at most ``MAX_RENDERING`` seconds."""
    until = time.thread_time() + MAX_RENDERING
    for line in reversed(lines):
        if line.is_markdown and line.text is not None and not line.removed:
            line.html = to_html(line.text.text)
            if time.thread_time() > until:
                break


class _Builder:
    """Adds lines one by one, and finds the line that a later entry changes."""

    def __init__(
        self, *, session: UUID, client: str, reveal: bool, ratings: Mapping[str, SessionFeedback]
    ) -> None:
        self.client = client
        self.reveal = reveal
        self._ratings = ratings
        self.lines: list[Line] = []
        self._conversation = ConversationReducer(session)
        self._messages: dict[object, Line] = {}
        #: Lines of steps, by id, and the names of the steps.
        self._steps: dict[str, Line] = {}
        self._step_names: dict[str, str] = {}
        #: Lines of questions, by call.
        self._asks: dict[str, Line] = {}
        #: The labels of the buttons of questions, by id.
        self._labels: dict[str, str] = {}

    def add(self, entry: LoggedEvent) -> None:
        line = self._line(entry)
        if line is None:
            return
        if entry.n is None and self._conversation.drops(entry.turn):
            self._drop(line)
        if entry.status:
            outcome = str(_OUTCOMES.get(entry.status, entry.status))
            line.marks.append(Mark(kind="bad", text=outcome))
        self.lines.append(line)

    def _line(self, entry: LoggedEvent) -> Line | None:
        """Return the line of an entry; None if it has changed another line instead."""
        match self._conversation.take(entry):
            case MessageChange(new=ConversationMessage() as message) as change:
                if change.replaces is not None:
                    self._mark_replaced(change.replaces)
                return self._message(entry, message)
            case MessageChange(key=key):
                return self._removal(entry, key)
            case QuestionChange(
                what="asked", question=Question(message=ConversationMessage() as text) as question
            ):
                return self._ask(entry, question, text)
            case QuestionChange(what="answered", question=question):
                return self._answer(entry, question)
            case QuestionChange(what="closed") as closed if closed.question.call in self._asks:
                outcome = _ANSWERED.get(closed.outcome, closed.outcome)
                self._asks[closed.question.call].note(str(outcome))
                return None
            case FeedbackChange() as given:
                return self._feedback(entry, given)
            case StepChange(step=step) as change:
                return self._step(entry, step, change.what)
            case Failure(code=code, detail=detail):
                line = self._line_of(entry, "error", code)
                line.text = self._text(detail)
                return line
        return self._event(entry)

    def _message(self, entry: LoggedEvent, message: ConversationMessage) -> Line | None:
        """Return the line of a message; None if an earlier line was changed instead."""
        if message.n is None:
            line = self._line_of(entry, "server", _author(message.author))
        else:
            line = self._line_of(entry, "client", self.client)
        line.text = self._text(message.content)
        line.is_markdown = message.format == MARKDOWN
        line.extras = _actions(message.actions)
        line.files = _files(message.files)
        line.streaming = message.streaming
        if metadata := message.metadata:
            line.failure = metadata.get("error") is True
            line.detail = None if metadata == {"error": True} else self._json(metadata)
        old = self._messages.get(message.key)
        if entry.name == "message_update":
            if old is not None:
                old.replace_with(line)
                return None
            self._conversation.put(message)
            line.note(_("changes an earlier message"))
        self._messages[message.key] = line
        if message.n is None and (rating := self._ratings.get(message.id)) is not None:
            kind = "good" if rating.value == SessionFeedback.Value.UP else "bad"
            line.marks.append(Mark(kind=kind, text=str(rating.get_value_display())))
            line.comment = rating.comment
        return line

    def _mark_replaced(self, n: int) -> None:
        """Mark message ``n``, which the client has sent again, and the lines that followed it."""
        said = self._messages.get((self._conversation.session, n))
        for line in reversed(self.lines):
            if said is not None and line.seq < said.seq:
                break
            if line.kind != "client" and line.turn is not None and line.turn < n:
                continue  # an earlier turn has sent this line
            if said is not None or (line.turn is not None and line.turn >= n):
                self._drop(line)

    def _drop(self, line: Line) -> None:
        line.removed, line.streaming = True, False
        line.note(_("replaced"))

    def _feedback(self, entry: LoggedEvent, given: FeedbackChange) -> Line | None:
        """
        Return a line for feedback on a message of another page.

        Return None for a message of this page, whose line shows the feedback as a mark.
        """
        if given.id in self._messages:
            return None
        line = self._line_of(entry, "event", _("Feedback on an earlier message"))
        labels = dict(SessionFeedback.Value.choices)
        line.extras = [self.client, str(labels.get(given.value or "", _("taken back")))]
        line.detail = cut(given.comment, MAX_TEXT) if given.comment else None
        return line

    def _removal(self, entry: LoggedEvent, key: object) -> Line | None:
        line = self._messages.get(key)
        if line is None:
            line = self._event(entry)
            line.title = _("An earlier message was removed")
            return line
        line.removed = True
        line.note(_("removed"))
        return None

    def _step(self, entry: LoggedEvent, step: StepData, what: str) -> Line | None:
        """Return the line of a step; None if an earlier line was changed instead."""
        old = self._steps.get(step.id)
        if what == "removed":
            if old is None:
                return self._event(entry)
            old.removed = True
            old.note(_("removed"))
            return None
        self._step_names[step.id] = step.name
        line = self._line_of(entry, "event", _("Step: %(name)s") % {"name": step.name})
        line.is_step, line.streaming, line.failure = True, step.streaming, bool(step.error)
        parent = self._step_names.get(step.parent)
        line.extras = [step.type]
        if parent is not None:
            line.extras.append(_("in %(step)s") % {"step": parent})
        texts = {_("Input:"): step.input, _("Output:"): step.output, _("Error:"): step.error}
        shown = [f"{name}\n{self._plain(text)}" for name, text in texts.items() if text]
        line.detail = cut("\n\n".join(shown), MAX_TEXT) if shown else None
        if what == "changed" and old is not None:
            old.streaming = True  # the end of a step is no edit
            old.replace_with(line)
            return None
        self._steps[step.id] = line
        return line

    def _plain(self, text: str) -> str:
        """Return the text to show: in JSON, values of secret-looking keys are masked."""
        try:
            data = decode(text.encode())
        except ValueError:
            return text
        if self.reveal or not isinstance(data, dict | list):
            return text
        return printed(data, reveal=False, indent=2)

    def _ask(self, entry: LoggedEvent, question: Question, message: ConversationMessage) -> Line:
        line = self._line_of(entry, "server", _author(message.author))
        line.text = self._text(message.content)
        line.is_markdown = message.format == MARKDOWN
        line.extras = _actions(question.actions)
        line.note(_("question"))
        self._asks[question.call] = line
        self._labels |= {_text_of(one.get("id")): _name(one) for one in question.actions}
        return line

    def _answer(self, entry: LoggedEvent, question: Question) -> Line:
        line = self._line_of(entry, "client", self.client)
        match question.data:
            case {"files": [*files], **rest} if not rest:
                line.files = _files(files)
            case {"content": str(text)}:
                line.text = self._text(text)
            case {"id": str(id_)} if id_ in self._labels:
                line.text = self._text(self._labels[id_])
            case other:
                line.text = self._text(other)
        line.note(_("answer"))
        self._messages[self._conversation.session, entry.n] = line
        return line

    def _event(self, entry: LoggedEvent) -> Line:
        """Return the line of an event that is no message: its name, and its data as JSON."""
        line = self._line_of(entry, "event", entry.name)
        if entry.n is not None:
            line.extras = [self.client]
        try:
            data = decode(entry.data)
        except ValueError:
            self._salvage(entry, line)
            return line
        if entry.n is not None and entry.name == "action" and isinstance(data, dict):
            name, label = _text_of(data.get("name")), _text_of(data.get("label"))
            title = _("Action: %(name)s") % {"name": label or name}
            line.title = title if label.casefold() in ("", name.casefold()) else f"{title} ({name})"
            data = data.get("payload")
        if data not in (None, {}, []):
            line.detail = self._json(data)
        return line

    def _salvage(self, entry: LoggedEvent, line: Line) -> None:
        """Show the readable part of data that is cut off or damaged."""
        text = entry.data.decode(errors="replace")
        line.note(_("too long or damaged; not shown in full"))
        if content := _CUT_CONTENT.match(text):
            line.kind = "server" if entry.n is None else "client"
            line.text = self._text(_unescaped(content[1]))
        elif self.reveal:
            line.detail = cut(text, MAX_TEXT)

    def _line_of(self, entry: LoggedEvent, kind: str, title: str) -> Line:
        return Line(
            seq=entry.seq,
            at=entry.created_at,
            kind=kind,
            title=title[:MAX_TITLE],
            turn=entry.turn,
        )

    def _text(self, content: Any) -> Shown:
        return cut(content, MAX_TEXT) if isinstance(content, str) else self._json(content)

    def _json(self, data: Any) -> Shown:
        text = printed(data, reveal=self.reveal)
        if len(text) > MAX_LINE:
            text = printed(data, reveal=self.reveal, indent=2)
        return cut(text, MAX_TEXT)


def _author(name: str) -> str:
    """Return the author's name to show; the default author's is translated."""
    return _("Assistant") if name == DEFAULT_AUTHOR else name


def _unescaped(text: str) -> str:
    """Return the readable part of a JSON string whose end was cut off."""
    try:
        return str(decode(f'"{text}"'))
    except ValueError:  # such as half a surrogate pair at the end; shown as it is
        return text


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value[:MAX_TITLE]
    return Truncator(printed(value, reveal=False)).chars(MAX_NAME)


def _actions(actions: list[dict[str, Any]]) -> list[str]:
    """Return ``["Actions: yes, no"]`` for a message with actions, else an empty list."""
    names = ", ".join(map(_name, actions[:MAX_NAMED]))
    return [_("Actions: %(names)s") % {"names": names}] if actions else []


def _files(files: list[Any]) -> list[Attached]:
    """Return the files of a message; a message of the client has only the ids of its files."""
    return [
        Attached(id=_text_of(file.get("id") if isinstance(file, dict) else file), name=_name(file))
        for file in files[:MAX_NAMED]
    ]


def _name(thing: Any) -> str:
    if isinstance(thing, dict):
        thing = next((thing[key] for key in ("label", "name", "id") if thing.get(key)), thing)
    return _text_of(thing)

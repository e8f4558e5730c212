"""The types that bots written for Chainlit annotate with, and ``ChatProfile`` and ``Starter``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, cast

import msgspec

InputWidgetType = Literal[
    "switch",
    "slider",
    "select",
    "textinput",
    "tags",
    "numberinput",
    "multiselect",
    "checkbox",
    "radio",
    "datepicker",
]
ToastType = Literal["info", "success", "warning", "error"]
MessageType = Literal["user_message", "assistant_message", "system_message"]


class DictMixin:
    """Gives a dataclass ``to_dict``, ``from_dict``, ``to_json`` and ``from_json``."""

    def to_dict(self, encode_json: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        """Return it as a dict; with ``encode_json`` its values are those that JSON has."""
        found = json.loads(self.to_json()) if encode_json else asdict(cast("Any", self))
        return cast("dict[str, Any]", found)

    @classmethod
    def from_dict(cls, kvs: Mapping[str, Any], *, infer_missing: bool = False) -> Self:
        """
        Return the object that a dict describes; unknown keys are ignored.

        With ``infer_missing`` a missing required value is None. Raises ``ValueError`` for a value
        of another type.
        """
        given = dict(kvs)
        if infer_missing:
            for one in fields(cast("Any", cls)):
                if one.default is MISSING and one.default_factory is MISSING:
                    given.setdefault(one.name, None)
        return msgspec.convert(given, cls)

    def to_json(self, **options: Any) -> str:
        """Return it as JSON. The options are those of ``json.dumps()``."""
        return json.dumps(self.to_dict(), **({"default": str} | options))

    @classmethod
    def from_json(cls, s: str | bytes, *, infer_missing: bool = False) -> Self:
        """Return the object that a JSON text describes, as :meth:`from_dict` does."""
        return cls.from_dict(json.loads(s), infer_missing=infer_missing)


class StepDict(TypedDict, total=False):
    """A message or a step."""

    id: str
    threadId: str
    parentId: str | None
    name: str
    type: str
    input: str
    output: str
    createdAt: str | None
    start: str | None
    end: str | None
    command: str | None
    modes: dict[str, str] | None
    streaming: bool
    waitForAnswer: bool | None
    isError: bool | None
    metadata: dict[str, Any]
    tags: list[str] | None
    language: str | None
    icon: str | None
    showInput: bool | str | None
    defaultOpen: bool | None
    autoCollapse: bool | None
    generation: dict[str, Any] | None


class ElementDict(TypedDict, total=False):
    """An element."""

    id: str
    threadId: str | None
    type: str
    chainlitKey: str | None
    path: str | None
    url: str | None
    objectKey: str | None
    name: str
    display: str
    size: str | None
    language: str | None
    page: int | None
    props: dict[str, Any] | None
    autoPlay: bool | None
    playerConfig: dict[str, Any] | None
    forId: str | None
    mime: str | None


class ThreadDict(TypedDict):
    """A thread, as ``on_chat_resume`` gets it."""

    id: str
    createdAt: str
    name: str | None
    userId: str | None
    userIdentifier: str | None
    tags: list[str] | None
    metadata: dict[str, Any] | None
    steps: list[StepDict]
    elements: list[ElementDict] | None


class FileReference(TypedDict):
    id: str


class FileDict(TypedDict):
    id: str
    name: str
    path: Path
    size: int
    type: str


class CommandDict(TypedDict, total=False):
    id: str
    description: str
    icon: str
    button: bool | None
    persistent: bool | None
    selected: bool | None


class AskActionResponse(TypedDict):
    """The action that was chosen."""

    name: str
    payload: dict[str, Any]
    label: str
    tooltip: str
    forId: str
    id: str


@dataclass
class AskFileResponse:
    """A file that the user has given; ``path`` is a copy on this machine."""

    id: str
    name: str
    path: str
    size: int
    type: str


@dataclass
class AskSpec(DictMixin):
    """What a question asks for."""

    timeout: int
    type: Literal["text", "file", "action", "element"]
    step_id: str


@dataclass
class FileSpec(DictMixin):
    """Which files are asked for."""

    accept: list[str] | dict[str, list[str]]
    max_files: int
    max_size_mb: int


@dataclass
class ActionSpec(DictMixin):
    """Which actions are offered, by their ids."""

    keys: list[str]


@dataclass
class AskFileSpec(FileSpec, AskSpec):
    """Which files a question asks for."""


@dataclass
class AskActionSpec(ActionSpec, AskSpec):
    """Which actions a question offers."""


@dataclass
class Starter(DictMixin):
    """A button at the beginning of a chat, which sends ``message``."""

    label: str
    message: str
    command: str | None = None
    icon: str | None = None


@dataclass
class StarterCategory(DictMixin):
    """Starters that belong together."""

    label: str
    icon: str | None = None
    starters: list[Starter] = field(default_factory=list)


@dataclass
class Feedback:
    """The user's rating of an answer: 1 is a thumb up, 0 a thumb down."""

    forId: str  # noqa: N815  # Chainlit's name
    value: Literal[0, 1]
    threadId: str | None = None  # noqa: N815  # Chainlit's name
    id: str | None = None
    comment: str | None = None


@dataclass
class ChatProfile(DictMixin):
    """One variant of a chat."""

    name: str
    markdown_description: str
    icon: str | None = None
    display_name: str | None = None
    default: bool = False
    starters: list[Starter] | None = None
    config_overrides: Any = None

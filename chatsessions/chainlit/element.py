"""Elements: files that are sent with a message, and ``TaskList``, a message that is updated."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO
from typing import Any, ClassVar, Literal, cast
from uuid import uuid4

import chatsessions
from chatsessions.files.types import HEAD, raster_of, type_of_name

from .session import current_session, current_thread_id, here, rebuilding
from .types import ElementDict

ElementType = Literal["image", "text", "pdf", "tasklist", "audio", "video", "file"]
ElementDisplay = Literal["inline", "side", "page"]
ElementSize = Literal["small", "medium", "large"]
#: The key of the metadata of messages that are elements, with their type.
ELEMENT = "chainlit.element"


@dataclass
class Element:
    """
    Something that is shown with a message: ``content``, the file at ``path`` or what is at ``url``.

    ``name`` is what the user sees. Content and files become files of the session; a URL is sent as
    text, in a message of its own.
    """

    type: ClassVar[str] = "file"
    #: The media type of a file, if neither its content nor its name tells it.
    default_mime: ClassVar[str] = ""

    thread_id: str = field(default_factory=current_thread_id)
    name: str = ""
    id: str = field(default_factory=lambda: str(uuid4()))
    #: The id of the file of the session.
    chainlit_key: str | None = None
    url: str | None = None
    object_key: str | None = None
    path: str | None = None
    content: bytes | str | None = None
    display: ElementDisplay = "inline"
    size: ElementSize | None = None
    for_id: str | None = None
    language: str | None = None
    mime: str | None = None

    def __post_init__(self) -> None:
        #: The file of the session, if it is saved or the user has sent it.
        self.file: chatsessions.ChatFile | None = None
        self.persisted = False
        self.updatable = False
        #: Whether it was sent as a message of its own.
        self.is_said = False
        if not self.url and not self.path and not self.content:
            raise ValueError("Must provide url, path or content to instantiate element")

    async def save(self) -> None:
        """Save the element as a file of the session, once. An element with a URL is no file."""
        if self.persisted:
            return
        if not self.url:
            if not self.mime:
                self.mime = await asyncio.to_thread(self._guessed)
            name = self.name or self.type
            self.file = await current_session().save(name, self.mime, self.path, self.content)
            self.chainlit_key = self.file.id
        self.persisted = True

    def _guessed(self) -> str:
        head = self.content if isinstance(self.content, bytes) else b""
        if self.path:
            with open(self.path, "rb") as content:
                head = content.read(HEAD)
        return (
            raster_of(head[:HEAD])
            or type_of_name(self.path or "")
            or type_of_name(self.name)
            or self.default_mime
        )

    async def send(self, for_id: str, persist: bool = True) -> None:  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        """Put the element under a sent message; without one, send it as a message of its own."""
        self.for_id = for_id
        session = current_session()
        if rebuilding.get():
            return
        await self.save()
        message: Any = session.sent.get(for_id)
        if self.file is None or not hasattr(message, "shown"):
            await self.say()
        else:
            message.shown[self.id] = self
            await message.update()

    async def say(self) -> None:
        """Send the element as a message of its own, which is not part of the conversation."""
        files = [] if self.file is None else [self.file]
        text = self.name if files else f"{self.name}: {self.url}".removeprefix(": ")
        await chatsessions.Message(text, metadata={ELEMENT: self.type}, files=files).send()
        self.is_said = True

    async def remove(self) -> None:
        """Take the element off its message. The file stays with the session."""
        message: Any = current_session().sent.get(self.for_id or "")
        if self.id in getattr(message, "shown", ()):
            del message.shown[self.id]
            message.elements = [one for one in message.elements if one.id != self.id]
            await message.update()

    @classmethod
    async def received(cls, file: chatsessions.ChatFile) -> Element:
        """Return the element of a file that the user has sent; ``path`` is a local copy."""
        kept = await current_session().keep(file)
        found = _TYPES[cls.infer_type_from_mime(file.mime)]
        element = found(
            id=file.id, name=file.name, path=str(kept["path"]), chainlit_key=file.id, mime=file.mime
        )
        element.file, element.persisted = file, True
        return element

    @classmethod
    async def found(cls, e_dict: ElementDict) -> Element | None:
        """
        Return the element that a dict describes, with its saved file if there is one.

        Return None without a saved file, content, path and URL.
        """
        given = cast("dict[str, Any]", dict(e_dict))
        key = given.get("chainlitKey")
        files = await here().session.files() if key else []
        file = next((file for file in files if file.id == key), None)
        if file is not None:
            given["path"] = str((await current_session().keep(file))["path"])
        elif not any(given.get(source) for source in ("content", "path", "url")):
            return None
        element = cls.from_dict(cast("ElementDict", given))
        if file is not None:
            element.file, element.persisted = file, True
        return element

    def to_dict(self) -> ElementDict:
        """Return the element as a dict."""
        return {
            "id": self.id,
            "threadId": self.thread_id,
            "type": self.type,
            "url": self.url,
            "chainlitKey": self.chainlit_key,
            "name": self.name,
            "display": self.display,
            "objectKey": self.object_key,
            "size": self.size,
            "props": None,
            "page": getattr(self, "page", None),
            "autoPlay": getattr(self, "auto_play", None),
            "playerConfig": getattr(self, "player_config", None),
            "language": self.language,
            "forId": self.for_id,
            "mime": self.mime,
        }

    @classmethod
    def from_dict(cls, e_dict: ElementDict) -> Element:
        """Return the element that ``e_dict`` describes."""
        given = cast("dict[str, Any]", e_dict)
        found = _TYPES.get(given.get("type") or "file", File)
        return found(
            id=given.get("id") or str(uuid4()),
            for_id=given.get("forId"),
            name=given.get("name") or "",
            content=given.get("content"),
            path=given.get("path"),
            url=given.get("url"),
            object_key=given.get("objectKey"),
            chainlit_key=given.get("chainlitKey"),
            display=given.get("display") or "inline",
            mime=given.get("mime"),
        )

    @classmethod
    def infer_type_from_mime(cls, mime_type: str) -> str:
        """Return the type of element that shows files of ``mime_type``."""
        if mime_type == "application/pdf":
            return "pdf"
        major = mime_type.partition("/")[0]
        return major if major in ("image", "audio", "video") else "file"


ElementBased = Element


@dataclass
class Image(Element):
    """A picture."""

    type: ClassVar[str] = "image"
    default_mime: ClassVar[str] = "image/png"
    size: ElementSize | None = "medium"


@dataclass
class Text(Element):
    """A text beside the message."""

    type: ClassVar[str] = "text"
    default_mime: ClassVar[str] = "text/plain"


@dataclass
class Pdf(Element):
    """A document."""

    type: ClassVar[str] = "pdf"
    mime: str | None = "application/pdf"
    page: int | None = None


@dataclass
class Audio(Element):
    """A recording."""

    type: ClassVar[str] = "audio"
    default_mime: ClassVar[str] = "audio/mpeg"
    auto_play: bool = False


@dataclass
class Video(Element):
    """A film."""

    type: ClassVar[str] = "video"
    default_mime: ClassVar[str] = "video/mp4"
    size: ElementSize | None = "medium"
    player_config: dict[str, Any] | None = None


@dataclass
class File(Element):
    """Any file."""


@dataclass
class Pyplot(Element):
    """A figure of matplotlib, as a picture."""

    type: ClassVar[str] = "image"
    size: ElementSize | None = "medium"
    figure: Any = None

    def __post_init__(self) -> None:
        if not callable(getattr(self.figure, "savefig", None)):
            raise TypeError("figure must be a matplotlib.figure.Figure")
        image = BytesIO()
        self.figure.savefig(image, dpi=200, bbox_inches="tight", format="png")
        self.content, self.mime = image.getvalue(), "image/png"
        super().__post_init__()


class TaskStatus(Enum):
    """The state of a task."""

    READY = "ready"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"


#: The sign before a task, by its state.
_SIGNS = {
    TaskStatus.READY: "☐",
    TaskStatus.RUNNING: "▶",
    TaskStatus.FAILED: "✗",
    TaskStatus.DONE: "☑",
}


@dataclass
class Task:
    """One line of a ``TaskList``."""

    title: str
    status: TaskStatus = TaskStatus.READY
    forId: str | None = None  # noqa: N815  # Chainlit's name


@dataclass
class TaskList(Element):
    """Tasks and their states, as a message that is updated."""

    type: ClassVar[str] = "tasklist"
    name: str = "tasklist"
    content: bytes | str | None = "tasks"
    tasks: list[Task] = field(default_factory=list)
    status: str = "Ready"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.updatable = True
        self._message = chatsessions.Message(id=self.id)

    async def add_task(self, task: Task) -> None:
        """Add a task; :meth:`send` or :meth:`update` shows it."""
        self.tasks.append(task)

    async def send(self, for_id: str = "", persist: bool = True) -> None:  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        """Show the list as it is now, in place of what was shown before."""
        current_session()  # raises if there is none
        if rebuilding.get():
            return
        lines = [f"{_SIGNS[task.status]} {task.title}" for task in self.tasks]
        self._message.content = "\n".join([self.status, *lines])
        self._message.metadata = {
            ELEMENT: self.type,
            "tasklist": {
                "status": self.status,
                "tasks": [
                    {"title": one.title, "status": one.status.value, "forId": one.forId}
                    for one in self.tasks
                ],
            },
        }
        await self._message.send()

    async def update(self) -> None:
        """Show the list as it is now."""
        await self.send()

    async def remove(self) -> None:
        """Take the list out of the conversation."""
        await self._message.remove()


_TYPES: dict[str, type[Element]] = {
    "image": Image,
    "text": Text,
    "pdf": Pdf,
    "audio": Audio,
    "video": Video,
    "file": File,
}

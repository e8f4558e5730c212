"""The models: sessions with their logs, feedback and files, and the workers that own them."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from django.conf import settings as django_settings
from django.db import models
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, Subquery, Sum, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .conf import settings, with_offset
from .files.storage import ChatFile, path_of, session_storage
from .protocol.events import MAX_MESSAGE_ID

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField


class JSONTextField(_TextField):
    """
    A field that stores a value as JSON text.

    It is not a ``JSONField``: PostgreSQL's ``jsonb`` refuses ``\\u0000``, which any client may
    send, and loses the order of keys; SQLite parses each value again when it is inserted.
    """

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Any:
        return None if value is None else msgspec.json.decode(value)

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()


class DatabaseNow(Now):
    """
    The database's time, in the time zone of its rows.

    The clocks of servers differ. A time that one process writes and another compares, such as a
    worker's heartbeat, comes from the database: its clock is the same for all.
    """

    def as_mysql(self, compiler: Any, connection: Any, **extra_context: Any) -> Any:
        if connection.timezone_name != "UTC":
            return super().as_mysql(compiler, connection, **extra_context)
        # Django stores UTC, but MySQL's NOW() returns the time in the server's own time zone.
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra_context)

    def as_sqlite(self, compiler: Any, connection: Any, **extra_context: Any) -> Any:
        if django_settings.USE_TZ:
            return super().as_sqlite(compiler, connection, **extra_context)
        return self.as_sql(
            compiler,
            connection,
            template="STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW', 'LOCALTIME')",
            **extra_context,
        )


def ago(seconds: float, now: datetime | None = None) -> datetime | Combinable:
    """Return the time ``seconds`` before ``now``, by default before the database's time."""
    span = timedelta(seconds=seconds)
    return DatabaseNow() - span if now is None else now - span


#: A dict, because mypy takes the keyword argument ``read_at`` for a duplicate field.
_READ_AT: dict[str, Any] = {"read_at": DatabaseNow()}


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self, now: datetime | None = None) -> WorkerQuerySet:
        """Return the workers with a heartbeat within the last ``WORKER_STALE`` seconds."""
        return self.filter(heartbeat_at__gte=ago(settings.WORKER_STALE, now))

    def stale(self, now: datetime | None = None) -> WorkerQuerySet:
        """Return the workers without a heartbeat within the last ``WORKER_STALE`` seconds."""
        return self.filter(heartbeat_at__lt=ago(settings.WORKER_STALE, now))

    def timed(self) -> WorkerQuerySet:
        """Add ``read_at``, the database's time, with which heartbeats are compared."""
        return self.annotate(**_READ_AT)


class Worker(models.Model):
    """One row per server process. Its heartbeat says whether the process is alive."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    hostname = models.CharField(_("host name"), max_length=255)
    pid = models.PositiveIntegerField(_("process id"))
    #: The space in which ``pid`` is unique: a host since its start, or a container.
    pid_space = models.CharField(max_length=400, blank=True, db_default="")
    channel = models.CharField(_("channel"), max_length=200, blank=True)
    started_at = models.DateTimeField(_("started"))
    #: The time of the last heartbeat by the database's clock.
    heartbeat_at = models.DateTimeField(_("last heartbeat"), db_index=True)
    #: The same moment by the worker's own clock.
    clock_at = models.DateTimeField(_("its clock"), null=True, blank=True)
    #: The time since which its sessions cannot be stored; None while storing works.
    stuck_since = models.DateTimeField(_("stores nothing since"), null=True, blank=True)

    #: The database's time when the row was read; set by ``timed()``.
    read_at: datetime | None = None

    objects = WorkerQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"

    def is_heard(self) -> bool:
        """Return True if the last heartbeat was at most ``WORKER_STALE`` seconds old when read."""
        if self.read_at is None:
            rows = Worker.objects.using(self._state.db).filter(pk=self.pk)
            return rows.filter(heartbeat_at__gte=ago(settings.WORKER_STALE)).exists()
        return self.heartbeat_at >= self.read_at - timedelta(seconds=settings.WORKER_STALE)

    @property
    def clock_ahead(self) -> timedelta:
        """How far the worker's clock is ahead of the database's; negative if it is behind."""
        return timedelta() if self.clock_at is None else self.clock_at - self.heartbeat_at


class ChatSessionQuerySet(models.QuerySet["ChatSession"]):
    def connected(self) -> ChatSessionQuerySet:
        """Return the sessions with a connection."""
        return self.filter(status=ChatSession.Status.CONNECTED)

    def away(self) -> ChatSessionQuerySet:
        """Return the sessions whose client is gone and may come back."""
        return self.filter(status=ChatSession.Status.AWAY)

    def ended(self) -> ChatSessionQuerySet:
        """Return the sessions that have ended."""
        return self.filter(status=ChatSession.Status.ENDED)

    def for_user(self, user: AbstractBaseUser | AnonymousUser) -> ChatSessionQuerySet:
        """Return the sessions of a logged-in user; none for an anonymous one."""
        return self.filter(user=user.pk) if user.is_authenticated else self.none()

    def threads_of(
        self, user: AbstractBaseUser | AnonymousUser
    ) -> models.QuerySet[ChatSession, dict[str, Any]]:
        """
        Return the threads of a logged-in user, last used first; none for an anonymous user.

        Each is a dict: ``thread_id``, ``chat``, ``title`` (the beginning of the user's first
        message, or ""), ``started``, ``last_seen``, ``sessions`` (how many there are) and ``said``
        (how many events the user has sent). It takes one query.
        """
        first = ChatSession.objects.using(self.db).filter(
            user=user.pk, thread_id=OuterRef("thread_id"), chat=OuterRef("chat")
        )
        title = first.exclude(topic="").order_by("created_at").values("topic")[:1]
        threads: Any = (
            self.for_user(user)
            .order_by()
            .values("thread_id", "chat")
            .annotate(
                title=Coalesce(Subquery(title), Value("")),
                started=Min("created_at"),
                last_seen=Max("last_seen_at"),
                sessions=Count("pk"),
                said=Sum("events_in"),
            )
            .order_by("-last_seen", "thread_id")
        )
        return threads  # type: ignore[no-any-return]  # the dict's type has no name

    def timed(self) -> ChatSessionQuerySet:
        """Add ``read_at``, the database's time."""
        return self.annotate(**_READ_AT)

    def rated(self, value: str) -> ChatSessionQuerySet:
        """Return the sessions with feedback of this value: ``up`` or ``down``."""
        rows = SessionFeedback.objects.using(self.db).filter(value=value)
        return self.filter(pk__in=rows.values("session"))

    def unused(self) -> ChatSessionQuerySet:
        """Return the sessions whose client has done nothing but connect."""
        return self.filter(_unused(self.db))

    def expired(self, now: datetime | None = None) -> ChatSessionQuerySet:
        """
        Return the sessions that have been away for longer than ``SESSION_AGE`` seconds.

        For sessions that are ``unused()`` the limit is at most ``UNUSED_SESSION_AGE`` seconds.
        """
        return self.away()._older("disconnected_at", settings.SESSION_AGE, now)

    def stale(self, now: datetime | None = None) -> ChatSessionQuerySet:
        """Return the sessions that are marked as connected, but whose owner is not alive."""
        silent = Q(worker__heartbeat_at__lt=ago(settings.WORKER_STALE, now))
        return self.connected().filter(silent | Q(worker=None))

    def past_keep(self, now: datetime | None = None) -> ChatSessionQuerySet:
        """
        Return the sessions that ended longer than ``KEEP`` seconds ago.

        For sessions that are ``unused()`` the limit is at most ``UNUSED_SESSION_AGE`` seconds.
        """
        return self.ended()._older("ended_at", settings.KEEP, now)

    def _older(self, moment: str, age: float, now: datetime | None) -> ChatSessionQuerySet:
        """
        Return the sessions in which the column ``moment`` is more than ``age`` seconds ago.

        For sessions that are ``unused()`` the limit is at most ``UNUSED_SESSION_AGE`` seconds.
        """
        least = min(age, settings.UNUSED_SESSION_AGE)
        # The first condition uses an index.
        rows = self.filter(**{f"{moment}__lt": ago(least, now)})
        is_old = Q(**{f"{moment}__lt": ago(age, now)})
        return rows.filter(is_old | _unused(self.db))


def _unused(database: str) -> Q:
    files = SessionFile.objects.using(database).filter(session=OuterRef("pk"))
    return Q(~Exists(files), events_in=0, has_acted=False)


class ChatSession(models.Model):
    """One session. It outlives its connections and the workers that own it."""

    class Status(models.TextChoices):
        CONNECTED = "connected", _("connected")
        AWAY = "away", _("away")
        ENDED = "ended", _("ended")

    class EndReason(models.TextChoices):
        USER = "user", _("by the user")
        ADMIN = "admin", _("by an administrator")
        APP = "app", _("by the application")
        EXPIRED = "expired", _("expired")
        LOGOUT = "logout", _("by logging out")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        django_settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="chat_sessions",
        verbose_name=_("user"),
    )
    chat = models.CharField(_("chat"), max_length=200)
    token_hash = models.CharField(max_length=64)
    previous_token_hash = models.CharField(max_length=64, blank=True)
    #: The hash of the last token before the session was assigned to a user, at ``assigned_at``.
    former_token_hash = models.CharField(max_length=64, blank=True)
    thread_id = models.UUIDField(_("thread"), default=uuid.uuid4, db_index=True)
    #: The beginning of the user's first message.
    topic = models.CharField(_("topic"), max_length=100, blank=True)
    client_type = models.CharField(_("client"), max_length=50)
    profile = models.CharField(_("profile"), max_length=200, blank=True)
    language = models.CharField(_("language"), max_length=35, blank=True)
    ip = models.GenericIPAddressField(_("IP address"), null=True, blank=True)
    user_agent = models.CharField(_("user agent"), max_length=400, blank=True)

    status = models.CharField(_("status"), max_length=10, choices=Status)
    end_reason = models.CharField(_("end reason"), max_length=10, choices=EndReason, blank=True)
    worker = models.ForeignKey(
        Worker,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="sessions",
        verbose_name=_("worker"),
        help_text=_("The worker that owns the session; none while nobody does."),
    )
    generation = models.PositiveIntegerField(_("generation"), default=1)

    #: All values of user_session, as JSON; "" under USER_SESSION_STORE="cache".
    #: ``Store.read_states`` reads them, from the cache if it has them.
    state = models.TextField(_("user session"), blank=True)
    state_bytes = models.PositiveIntegerField(_("user session bytes"), default=0)
    #: How often user_session was written; it tells whether the values in the cache are current.
    state_revision = models.PositiveBigIntegerField(default=0, editable=False)
    chat_settings = JSONTextField(_("chat settings"), default=dict, blank=True)
    #: The changes of the conversation by chat_context.clear(), add() and remove().
    chat_context = JSONTextField(_("chat context"), default=dict, blank=True)
    #: Messages and steps still streaming, for the next owner after a crash.
    streams = JSONTextField(default=list, blank=True)
    #: The ids of the open questions, as ``[{"call": id}, …]``.
    asks = JSONTextField(default=list, blank=True)
    #: The actions that the client can choose, by id, as they were offered.
    actions = JSONTextField(default=dict, blank=True)
    #: The inputs of the chat settings, as they go over the wire.
    inputs = JSONTextField(_("settings' inputs"), default=list, blank=True)
    #: The numbers of the latest changes that other processes have requested.
    applied = JSONTextField(default=list, blank=True)
    accepted = models.PositiveBigIntegerField(_("accepted events"), default=0)
    #: The turns of events up to this one have ended; events from there to ``accepted`` are pending.
    handled = models.PositiveBigIntegerField(_("handled events"), default=0)
    #: The number of the first event that came by HTTP and that the client's websocket does not know
    #: of yet; None if there is none.
    posted_from = models.PositiveBigIntegerField(null=True, blank=True)
    #: The events after ``handled`` whose turns have ended, because they overtook another turn; in
    #: the format of ``delivery.Handled.ahead``.
    handled_ahead = JSONTextField(default=list, blank=True)
    running = models.PositiveBigIntegerField(_("running turn"), null=True, blank=True)
    #: The turn that runs beside ``running``.
    aside = models.PositiveBigIntegerField(_("turn beside it"), null=True, blank=True)
    head = models.PositiveBigIntegerField(_("log entries"), default=0)
    #: The bytes of the log entries that are kept.
    log_bytes = models.PositiveBigIntegerField(_("log bytes"), default=0, db_default=0)
    events_in = models.PositiveBigIntegerField(_("events in"), default=0)
    events_out = models.PositiveBigIntegerField(_("events out"), default=0)
    connections = models.PositiveIntegerField(_("connections"), default=0)
    turns_failed = models.PositiveIntegerField(_("failed turns"), default=0)
    #: Whether the client has done something other than send events, in a consumer or a view of the
    #: application's own.
    has_acted = models.BooleanField(default=False, db_default=False, editable=False)

    created_at = models.DateTimeField(_("started"), db_index=True)
    # No index: it changes with every event, and on PostgreSQL each update would write all indexes.
    last_seen_at = models.DateTimeField(_("last seen"))
    connected_at = models.DateTimeField(_("connected"), null=True, blank=True)
    disconnected_at = models.DateTimeField(_("disconnected"), null=True, blank=True)
    assigned_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    #: The database's time when the row was read; set by ``timed()``.
    read_at: datetime | None = None

    objects = ChatSessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        permissions: ClassVar = [
            ("view_secrets", "Can see every value of a user session, masked ones too"),
            ("end_chatsession", "Can end sessions"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "disconnected_at"], name="chatsessions_away"),
            models.Index(fields=["status", "ended_at"], name="chatsessions_ended"),
            models.Index(fields=["user", "status"], name="chatsessions_user"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def is_expired(self, now: datetime | None = None) -> bool:
        """Return True if the client has been away for longer than ``SESSION_AGE`` seconds."""
        now = now or self.read_at or timezone.now()
        return (
            self.status == self.Status.AWAY
            and self.disconnected_at is not None
            and self.disconnected_at < now - timedelta(seconds=settings.SESSION_AGE)
        )


class SessionEvent(models.Model):
    """One entry of a session's log: an event of the client or of the server."""

    class Status(models.TextChoices):
        FAILED = "failed", _("failed")
        STOPPED = "stopped", _("stopped")
        INTERRUPTED = "interrupted", _("interrupted")

    # The unique constraint on (session, seq) is the index.
    session = models.ForeignKey(
        ChatSession, on_delete=models.CASCADE, related_name="events", db_index=False
    )
    seq = models.PositiveBigIntegerField()
    n = models.PositiveBigIntegerField(
        null=True, blank=True, help_text=_("The client's number; none for what the server emits.")
    )
    turn = models.PositiveBigIntegerField(null=True, blank=True)
    #: The id that the client gave its message, by which a repeated POST is recognized.
    key = models.UUIDField(null=True, blank=True, editable=False)
    name = models.CharField(max_length=100)
    data = JSONTextField()
    #: How the turn of a client's event has ended; None if it is ``done`` or has not ended.
    status = models.CharField(max_length=12, choices=Status, null=True, blank=True)  # noqa: DJ001
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("log entry")
        verbose_name_plural = _("log entries")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["session", "seq"], name="chatsessions_event_seq"),
            models.UniqueConstraint(
                fields=["session", "n"], condition=Q(n__isnull=False), name="chatsessions_event_n"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["session", "key"],
                condition=Q(key__isnull=False),
                name="chatsessions_event_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.seq}: {self.name}"


class SessionFeedback(models.Model):
    """The user's latest feedback on one answer."""

    class Value(models.TextChoices):
        UP = "up", _("thumbs up")
        DOWN = "down", _("thumbs down")

    # The unique constraint on (session, message) is the index.
    session = models.ForeignKey(
        ChatSession,
        on_delete=models.CASCADE,
        related_name="feedback",
        db_index=False,
        verbose_name=_("session"),
    )
    message = models.CharField(_("message"), max_length=MAX_MESSAGE_ID)
    #: The entry of the log that the message came with.
    seq = models.PositiveBigIntegerField(_("entry"))
    value = models.CharField(_("feedback"), max_length=4, choices=Value)
    comment = models.TextField(_("comment"), blank=True)
    given_at = models.DateTimeField(_("given"))

    class Meta:
        verbose_name = _("feedback")
        verbose_name_plural = _("feedback")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["session", "message"], name="chatsessions_feedback_message"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["value", "session"], name="chatsessions_feedback"),
        ]

    def __str__(self) -> str:
        return f"{self.seq}: {self.get_value_display()}"


def _file_path(file: SessionFile, filename: str) -> str:
    """Return a path made of ids only, so that no name from a client reaches a storage."""
    return path_of(file.session_id, file.id)


class SessionFile(models.Model):
    """A file of a session, from the user or from the application."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey(
        ChatSession, on_delete=models.CASCADE, related_name="files", verbose_name=_("session")
    )
    name = models.CharField(_("name"), max_length=255)
    mime = models.CharField(_("type"), max_length=100)
    size = models.PositiveBigIntegerField(_("bytes"))
    content = models.FileField(
        _("content"), storage=session_storage, upload_to=_file_path, max_length=200
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("file")
        verbose_name_plural = _("files")
        indexes: ClassVar = [
            models.Index(fields=["session", "created_at"], name="chatsessions_files"),
        ]

    def __str__(self) -> str:
        return self.name

    def as_chat_file(self) -> ChatFile:
        """Return the file as handlers see it."""
        return ChatFile(
            id=str(self.pk),
            session_id=self.session_id,
            name=self.name,
            mime=self.mime,
            size=self.size,
            created_at=with_offset(self.created_at),
            key=self.content.name or "",
        )

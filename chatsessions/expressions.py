"""SQL expressions that Django lacks. The models and the store use them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, IntegerField
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler


class OctetLength(Func):
    """The bytes of a text in UTF-8; Django's ``Length`` counts characters."""

    function = "OCTET_LENGTH"
    output_field = IntegerField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        return self.as_sql(
            compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context
        )

    def as_oracle(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, function="LENGTHB", **context)


class DatabaseNow(Now):
    """
    The database's time, in the time zone of its rows.

    The clocks of servers differ. What one process writes and another compares, above all the
    heartbeats of workers, is written and compared by the database: its clock is the same for all.
    """

    def as_mysql(self, compiler: Any, connection: Any, **extra_context: Any) -> Any:
        if connection.timezone_name != "UTC":
            return super().as_mysql(compiler, connection, **extra_context)
        # Django keeps UTC there and leaves the server's own time zone as it is.
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra_context)

    def as_sqlite(self, compiler: Any, connection: Any, **extra_context: Any) -> Any:
        if settings.USE_TZ:
            return super().as_sqlite(compiler, connection, **extra_context)
        return self.as_sql(
            compiler,
            connection,
            template="STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW', 'LOCALTIME')",
            **extra_context,
        )


def ago(seconds: float, now: datetime | None = None) -> datetime | Combinable:
    """Return the moment so many seconds before ``now``, by default before the database's time."""
    span = timedelta(seconds=seconds)
    return DatabaseNow() - span if now is None else now - span

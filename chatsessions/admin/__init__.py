"""The admin: sessions with their transcripts, and the workers that own them."""

from django.contrib import admin

from chatsessions.models import ChatSession, Worker

from .sessions import ChatSessionAdmin
from .workers import WorkerAdmin

__all__ = ["ChatSessionAdmin", "WorkerAdmin"]

admin.site.register(ChatSession, ChatSessionAdmin)
admin.site.register(Worker, WorkerAdmin)

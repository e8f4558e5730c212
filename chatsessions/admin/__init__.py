"""The admin: sessions with their transcripts, feedback, and the workers that own sessions."""

from django.contrib import admin

from chatsessions.models import ChatSession, SessionFeedback, Worker

from .feedback import SessionFeedbackAdmin
from .sessions import ChatSessionAdmin
from .workers import WorkerAdmin

__all__ = ["ChatSessionAdmin", "SessionFeedbackAdmin", "WorkerAdmin"]

admin.site.register(ChatSession, ChatSessionAdmin)
admin.site.register(SessionFeedback, SessionFeedbackAdmin)
admin.site.register(Worker, WorkerAdmin)

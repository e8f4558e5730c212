"""The admin: sessions with their transcripts, feedback, and the workers that own sessions."""

from .feedback import SessionFeedbackAdmin
from .sessions import ChatSessionAdmin
from .workers import WorkerAdmin

__all__ = ["ChatSessionAdmin", "SessionFeedbackAdmin", "WorkerAdmin"]

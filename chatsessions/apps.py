from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatSessionsConfig(AppConfig):
    name = "chatsessions"
    verbose_name = _("Chat sessions")
    # Without it a project's own DEFAULT_AUTO_FIELD would give it migrations of this package.
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_delete

        from . import checks  # noqa: F401  # registers the system checks
        from .models import SessionFile
        from .storage.files import content_goes_with_row

        post_delete.connect(
            content_goes_with_row, sender=SessionFile, dispatch_uid="chatsessions.files"
        )

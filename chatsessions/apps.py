from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatSessionsConfig(AppConfig):
    name = "chatsessions"
    verbose_name = _("Chat sessions")
    # Without it a project's own DEFAULT_AUTO_FIELD would give it migrations of this package.
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401  # registers the system checks

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PrivateGPTConfig(AppConfig):
    name = "privategpt"
    verbose_name = _("Sources and chats")

    def ready(self) -> None:
        """Loads the checks, which register themselves."""
        from privategpt import checks  # noqa: F401

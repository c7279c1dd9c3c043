from django.apps import AppConfig


class PrivateGPTConfig(AppConfig):
    name = "privategpt"
    verbose_name = "PrivateGPT"

    def ready(self) -> None:
        """Loads the checks, which register themselves."""
        from privategpt import checks  # noqa: F401

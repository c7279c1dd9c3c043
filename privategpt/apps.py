from django.apps import AppConfig


class PrivateGPTConfig(AppConfig):
    name = "privategpt"
    verbose_name = "PrivateGPT"

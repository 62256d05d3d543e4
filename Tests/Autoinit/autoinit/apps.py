from django.apps import AppConfig


class AutoinitConfig(AppConfig):
    name = "autoinit"

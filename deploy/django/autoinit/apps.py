from django.apps import AppConfig


class AutoinitConfig(AppConfig):
    name = "autoinit"
    verbose_name = "Start by supervisor"

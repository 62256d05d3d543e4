"""The hooks' order is that of INSTALLED_APPS."""

from django.apps import apps

from autoinit.mixins import AutoInitMixin


def app_configs():
    return [config for config in apps.get_app_configs() if isinstance(config, AutoInitMixin)]

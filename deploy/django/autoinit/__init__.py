"""The names of django-autoinit, for projects whose start is supervisor's."""

from autoinit.exceptions import AutoInitError, AutoInitInfrastructureError, AutoInitTimeoutError
from autoinit.mixins import AutoInitMixin

__all__ = ["AutoInitError", "AutoInitInfrastructureError", "AutoInitMixin", "AutoInitTimeoutError"]

"""A test double of django-autoinit, made from its observed behaviour. It never ships; see README.md beside it."""

from autoinit.exceptions import AutoInitError, AutoInitInfrastructureError, AutoInitTimeoutError
from autoinit.mixins import AutoInitMixin

__all__ = ["AutoInitError", "AutoInitInfrastructureError", "AutoInitMixin", "AutoInitTimeoutError"]

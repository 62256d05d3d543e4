"""The settings, each with the original's default."""

import hashlib
import os

from django.conf import settings

LOGGER = "autoinit"
LOCK_NAME = "autoinit_infrastructure"
READINESS_SECONDS = 86400


def timeout(given):
    """A budget in seconds. Zero is taken for "not given", as in the original."""
    return given or getattr(settings, "AUTOINIT_TIMEOUT_SEC", 300)


def cache_alias():
    return getattr(settings, "AUTOINIT_CACHE_ALIAS", "default")


def key_prefix():
    return getattr(settings, "AUTOINIT_READINESS_KEY_PREFIX", "autoinit:ready")


def marker_directory():
    return str(getattr(settings, "AUTOINIT_MARKER_DIR", "/tmp/autoinit"))


def run_id(given):
    """Neither trimmed nor validated; without one, the same for every release in this folder."""
    known = given or os.environ.get("AUTOINIT_RUN_ID")
    if known:
        return known
    return "dev-" + hashlib.md5(os.getcwd().encode()).hexdigest()[:8]

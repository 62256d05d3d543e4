"""A project for fleets in tests, on PostgreSQL and Redis. The environment says where they are.

FLEET_DATABASE_HOST, _PORT (PgBouncer's, for a pool), _USER, _PASSWORD, _NAME; FLEET_DATABASE_OTHER (the name of a second
one on the same server, the alias "other"); FLEET_REDIS (a URL, "locmem" for Django's
default cache), FLEET_REDIS_AUTOINIT (another one for readiness, behind the alias "autoinit"), FLEET_KEY_PREFIX,
FLEET_KEY_VERSION, FLEET_KEY_FUNCTION (see keys.py), FLEET_READINESS_PREFIX; FLEET_APPS ("search" has a migration without a transaction);
FLEET_MARKERS, FLEET_STATIC, FLEET_TIMEOUT. What migrations and hooks do beside their work: see witness/record.py.
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "fleet.urls"
WSGI_APPLICATION = "fleet.wsgi.application"

INSTALLED_APPS = ["autoinit", "django.contrib.staticfiles", "witness"]
INSTALLED_APPS += os.environ.get("FLEET_APPS", "orders stock").split()

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("FLEET_DATABASE_HOST", "127.0.0.1"),
        "PORT": os.environ.get("FLEET_DATABASE_PORT", "5432"),
        "USER": os.environ.get("FLEET_DATABASE_USER", "postgres"),
        "PASSWORD": os.environ.get("FLEET_DATABASE_PASSWORD", ""),
        "NAME": os.environ.get("FLEET_DATABASE_NAME", "fleet"),
        # A pool in transaction mode has no cursors that outlive a transaction.
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
}
if os.environ.get("FLEET_DATABASE_OTHER"):
    DATABASES["other"] = dict(DATABASES["default"], NAME=os.environ["FLEET_DATABASE_OTHER"])


def cache(location):
    if location == "locmem":
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    entry = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": location,
        "KEY_PREFIX": os.environ.get("FLEET_KEY_PREFIX", ""),
        "VERSION": int(os.environ.get("FLEET_KEY_VERSION", "1")),
    }
    if os.environ.get("FLEET_KEY_FUNCTION"):
        entry["KEY_FUNCTION"] = os.environ["FLEET_KEY_FUNCTION"]
    return entry


CACHES = {"default": cache(os.environ.get("FLEET_REDIS", "locmem"))}
if os.environ.get("FLEET_REDIS_AUTOINIT"):
    CACHES["autoinit"] = cache(os.environ["FLEET_REDIS_AUTOINIT"])
    AUTOINIT_CACHE_ALIAS = "autoinit"
if os.environ.get("FLEET_READINESS_PREFIX"):
    AUTOINIT_READINESS_KEY_PREFIX = os.environ["FLEET_READINESS_PREFIX"]
if os.environ.get("FLEET_TIMEOUT"):
    AUTOINIT_TIMEOUT_SEC = int(os.environ["FLEET_TIMEOUT"])
AUTOINIT_MARKER_DIR = os.environ.get("FLEET_MARKERS", str(BASE_DIR / "markers"))

STATIC_ROOT = os.environ.get("FLEET_STATIC", str(BASE_DIR / "static"))
STATIC_URL = "static/"

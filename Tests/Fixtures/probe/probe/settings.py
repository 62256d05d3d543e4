"""A project for tests: three apps whose hooks write to a file and do as the environment says (see hooks.py)."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "for tests only"
INSTALLED_APPS = os.environ.get("PROBE_APPS", "first second third").split()
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("PROBE_DATABASE", BASE_DIR / "db.sqlite3"),
    }
}
STATIC_ROOT = os.environ.get("PROBE_STATIC_ROOT", BASE_DIR / "static")
STATIC_URL = "static/"
USE_TZ = True

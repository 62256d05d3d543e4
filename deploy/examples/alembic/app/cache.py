"""A cache of one file, in place of Redis."""

import json
import os

from app.database import data

path = data / "cache.json"


def read():
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def write(**values):
    """Sets values, and leaves the others. Readers see the old file or the new one."""
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({**read(), **values}))
    new.replace(path)

"""What migrations and hooks leave behind, so that a test can tell how often and when they ran.

In the database: a row in migration_runs in the migration's own transaction, two in hook_events around a hook.
In the folder FLEET_WITNESS, which no database's trouble touches: the file `events` with a line on entering and leaving
(`time node pid name enter`), and an flock for each name. It belongs to the process, and is gone in the moment in which
that is: whoever finds it taken writes `overlap`. A migration's transaction also holds an advisory lock of its own, which
lives as long as the server works on it, whatever became of the client: whoever finds that one taken writes `left-behind`.

FLEET_NODE names the node. FLEET_SLOW is a factor for how long migrations take. FLEET_<APP>_<PHASE> tells a hook what to do,
FLEET_<APP>_<NUMBER> a migration (`FLEET_ORDERS_INFRASTRUCTURE=sleep:0.5`, `FLEET_ORDERS_0002=raise:sad`): sleep:SECONDS,
query:SECONDS (the server sleeps), raise:TEXT, swallow:TEXT, exit:CODE, close (the connection to the database), close-old
(as Django does between requests), await:FILE (until it is there).
"""

import contextlib
import fcntl
import os
import socket
import sys
import time
import zlib

from django.db import close_old_connections, connection, migrations

NODE = os.environ.get("FLEET_NODE") or socket.gethostname()


def slow(seconds):
    return seconds * float(os.environ.get("FLEET_SLOW", "1"))


def note(name, what):
    """A line in `events`, in one write."""
    folder = os.environ.get("FLEET_WITNESS")
    if not folder:
        return
    line = "%.6f %s %d %s %s\n" % (time.time(), NODE, os.getpid(), name, what)
    descriptor = os.open(folder + "/events", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(descriptor, line.encode())
    os.close(descriptor)


@contextlib.contextmanager
def alone(name):
    """Notes that somebody else is at the same work, which is never right."""
    folder = os.environ.get("FLEET_WITNESS")
    if not folder:
        yield
        return
    descriptor = os.open("%s/%s.lock" % (folder, name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(name, "overlap")
    note(name, "enter")
    try:
        yield
        note(name, "leave")
    finally:
        os.close(descriptor)


def migration(name, seconds=0.0, on_server=False):
    """An operation that records its migration, and takes that long, here or in the server."""

    def run(apps, schema_editor):
        database = schema_editor.connection
        # Each database has its own, one after the other.
        work = name if database.alias == "default" else database.alias + "." + name
        with alone(work), database.cursor() as cursor:
            if database.in_atomic_block:
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [zlib.crc32(name.encode())])
                if not cursor.fetchone()[0]:
                    note(work, "left-behind")
            cursor.execute(
                "INSERT INTO migration_runs (name, node, pid, at) VALUES (%s, %s, %s, clock_timestamp())",
                [name, NODE, os.getpid()],
            )
            if on_server:
                cursor.execute("SELECT pg_sleep(%s)", [slow(seconds)])
            else:
                time.sleep(slow(seconds))
            act(name, _order(name.replace(".", "_")))

    return migrations.RunPython(run, migrations.RunPython.noop, atomic=None)


def hook(app, phase):
    name = app + "." + phase
    with alone(name):
        if phase == "infrastructure":
            _insert(name, "enter")
        act(name, _order(app + "_" + phase))
        if phase == "infrastructure":
            _insert(name, "leave")


def _order(name):
    return os.environ.get("FLEET_" + name.upper(), "")


def _insert(name, what):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO hook_events (name, what, node, pid, at) VALUES (%s, %s, %s, %s, clock_timestamp())",
            [name, what, NODE, os.getpid()],
        )


def act(name, order):
    verb, _, argument = order.partition(":")
    if verb == "sleep":
        time.sleep(float(argument))
    elif verb == "query":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [float(argument)])
    elif verb == "raise":
        raise ValueError(argument)
    elif verb == "swallow":
        try:
            raise ValueError(argument)
        except ValueError:
            note(name, "swallowed")
    elif verb == "exit":
        sys.exit(int(argument))
    elif verb == "close":
        connection.close()
    elif verb == "close-old":
        connection.settings_dict["CONN_MAX_AGE"] = 0
        connection.close_at = 0
        close_old_connections()
    elif verb == "await":
        while not os.path.exists(argument):
            time.sleep(0.02)
    elif verb:
        raise ValueError("no such order: " + order)

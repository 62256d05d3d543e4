"""What the hooks do: a line on entering and one on leaving, and in between what PROBE_<APP>_<PHASE> says."""

import asyncio
import os
import signal
import sys
import time


def record(name, what):
    """Appends `time pid name enter` or `... leave` to the file EVENTS, in one write."""
    path = os.environ.get("EVENTS")
    if not path:
        return
    line = "%.6f %d %s %s\n" % (time.time(), os.getpid(), name, what)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def run(app, phase):
    name = app + "." + phase
    record(name, "enter")
    result = act(os.environ.get("PROBE_%s_%s" % (app.upper(), phase.upper()), ""))
    record(name, "leave")
    return result


def act(order):
    verb, _, argument = order.partition(":")
    if verb == "sleep":
        time.sleep(float(argument))
    elif verb == "raise":
        raise ValueError(argument)
    elif verb == "swallow":
        try:
            raise ValueError(argument)
        except ValueError:
            record("swallowed", argument)
    elif verb == "exit":
        sys.exit(int(argument) if argument.isdigit() else argument or None)
    elif verb == "interrupt":
        raise KeyboardInterrupt
    elif verb == "close":
        from django.db import connection, connections

        connection.ensure_connection()
        connection.close()
        connections.close_all()
    elif verb == "descriptors":
        os.closerange(3, 256)
    elif verb == "chdir":
        os.chdir("/")
    elif verb == "fork":
        # The child comes back from the hook, as careless ones do.
        child = os.fork()
        if child == 0:
            if argument == "raise":
                raise ValueError("in the child")
        else:
            os.waitpid(child, 0)
    elif verb == "binary":
        sys.stdout.write("end\nsupervisor-django 1\n")
        sys.stdout.flush()
        os.write(1, bytes(range(256)) * 16)
        os.write(2, b"\xff\x00\xfe")
    elif verb == "binary-error":
        raise ValueError("\x00\x1b[2J\udcff\n" + "end" * 50000)
    elif verb == "silent":
        sys.stdout.close()
        sys.stderr.close()
    elif verb == "hang":
        while True:
            signal.pause()
    elif verb == "family":
        # Hangs, with a child in the same group, one in a session of its own, and neither minds a TERM.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for leaves in (False, True):
            if os.fork() == 0:
                if leaves:
                    os.setsid()
                while True:
                    signal.pause()
        while True:
            signal.pause()
    elif verb == "vanish":
        os._exit(int(argument or 0))
    elif verb == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "coroutine":
        return asyncio.sleep(0)
    elif verb == "thread":
        import threading

        thread = threading.Thread(target=record, args=("thread", "ran"))
        thread.start()
    elif verb:
        raise ValueError("no such order: " + order)
    return None

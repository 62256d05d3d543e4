"""memory and wakeups: processes that have nothing to do."""

import contextlib
import time
from pathlib import Path

from .bench import Running, free_port, get, wait_until_ready
from .report import Row, Samples


@contextlib.contextmanager
def all_idle(bench):
    """Every program with an idle child, started and at rest; yields name → process ID."""
    commands = bench.inits(bench.probe("child"), "idle", run=True)
    with contextlib.ExitStack() as stack:
        found = {}
        for name, command in commands.items():
            port = free_port()
            running = stack.enter_context(
                Running(bench, command, bench.run_environment(port) if name == "run" else None))
            running.wait_for_child()
            if name == "run":
                wait_until_ready(port)
                for path in ("/livez", "/readyz", "/status", "/metrics"):
                    get(port, path)
            found[name] = running.pid
        time.sleep(3)  # what belongs to the start is over: nothing here tells us when, so it is generous
        yield found


def rollup(pid):
    """Bytes by the names of /proc/PID/smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


MEMORY = [
    ("resident", lambda map: map["Rss"]),
    ("private, really owned (Private_Dirty)", lambda map: map["Private_Dirty"]),
    ("clean pages of its own file, reclaimable (Private_Clean)", lambda map: map["Private_Clean"]),
]


def memory(bench):
    with all_idle(bench) as pids:
        maps = {name: rollup(pid) for name, pid in pids.items()}
        threads = {name: int(status(pid)["Threads"]) for name, pid in pids.items()}
    rows = []
    for ours in ("run", "exec"):
        def row(what, value, unit):
            def column(name):
                return bench.samples_or_reason(name, Samples([value(name)], unit) if name in pids else None)
            return Row("memory", f"`{ours}` idle: {what}", column(ours), column("tini"), column("dumb-init"))

        for what, value in MEMORY:
            rows.append(row(what, lambda name: value(maps[name]), "bytes"))
        rows.append(row("threads", lambda name: threads[name], ""))
    resident, private, _, thread_count = rows[:4]
    resident.judge("at most 8 MB", lambda ours: ours.median <= 8e6)
    private.judge("at most 2 MB", lambda ours: ours.median <= 2e6)
    thread_count.judge("1", lambda ours: ours.median == 1)
    return rows


def wake_ups(pid):
    """How often any thread of the process was put on a processor."""
    return sum(int((task / "schedstat").read_text().split()[2]) for task in Path(f"/proc/{pid}/task").iterdir())


def switches(pid):
    """How often any thread of the process went to sleep by itself."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def wakeups(bench):
    seconds = 10 if bench.quick else 60
    with all_idle(bench) as pids:
        before = {name: (wake_ups(pid), switches(pid)) for name, pid in pids.items()}
        time.sleep(seconds)
        after = {name: (wake_ups(pid), switches(pid)) for name, pid in pids.items()}
    counted = {name: max(after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in pids}
    rows = []
    for ours in ("run", "exec"):
        def column(name):
            return bench.samples_or_reason(name, Samples([counted[name]], "") if name in pids else None)
        row = Row("wakeups", f"`{ours}` idle: wake-ups in {seconds} s", column(ours), column("tini"),
                  column("dumb-init"))
        rows.append(row.judge("0", lambda samples: samples.median == 0) if ours == "run" else row)
    return rows

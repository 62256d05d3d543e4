"""restart-latency and readyz-under-load: what only `run` does."""

import json
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from .bench import Running, Unavailable, free_port, get, wait_until_ready
from .report import Row, Samples

BACKOFF = 10_000_000  # nanoseconds

SETTINGS = """\
app:
  restart: always
  backoff: {initial: 10ms, maximum: 10ms, factor: 1, jitter: 0, reset_after: 1h}
  start_limit: {count: 100000, within: 10m}
"""


def restart_latency(bench):
    if "run" in bench.missing:
        return [Row("restart-latency", "death to next start, less the backoff", bench.missing["run"])]
    restarts = 50 if bench.quick else 300
    settings = bench.work / "restart.yml"
    settings.write_text(SETTINGS)
    command = [bench.programs["ours"], "run", "--settings", str(settings), "--", bench.probe("child"), "mortal"]
    lives = []
    with Running(bench, command, bench.run_environment(free_port())) as running:
        # The reading blocks; a supervisor that stops restarting would hold it for ever.
        deadline = threading.Timer(60, running.process.terminate)
        deadline.start()
        try:
            while len(lives) <= restarts:
                life = running.process.stdout.read(16)
                if len(life) < 16:
                    break
                lives.append(struct.unpack("qq", life))
        finally:
            deadline.cancel()
    gaps = [following[0] - life[1] for life, following in zip(lives, lives[1:])]
    if len(gaps) < restarts:
        raise Unavailable(f"n/a: {len(gaps)} of {restarts} restarts were seen")
    row = Row("restart-latency", "`run`, death of the app to its next start, less the backoff of 10 ms",
              Samples([gap - BACKOFF for gap in gaps]), runs=f"{len(gaps)} restarts")
    early = sum(gap < BACKOFF for gap in gaps)
    if early:
        row.notes.append(f"{early} restarts came before the backoff was over")
    return [row]


def readyz_under_load(bench):
    if "run" in bench.missing:
        return [Row("readyz-under-load", "GET /readyz beside 1,000 slow connections", bench.missing["run"])]
    requests, port = (50 if bench.quick else 200), free_port()
    command = [bench.programs["ours"], "run", "--", bench.probe("child"), "idle"]
    values, refused = [], 0
    with Running(bench, command, bench.run_environment(port)) as running:
        running.wait_for_child()
        wait_until_ready(port)
        load = subprocess.Popen([sys.executable, str(Path(__file__).with_name("slow_clients.py")), str(port), "1000"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=bench.log, text=True)
        try:
            if load.stdout.readline().strip() != "loaded":
                raise Unavailable("n/a: the 1,000 slow connections could not be opened")
            for _ in range(requests):
                began = time.monotonic_ns()
                try:
                    refused += get(port, "/readyz", timeout=5) != 200
                except OSError:
                    refused += 1
                values.append(time.monotonic_ns() - began)
                time.sleep(0.05)
            load.stdin.close()
            held = json.loads(load.stdout.readline())
        finally:
            if load.poll() is None:
                load.terminate()
            load.wait()
            load.stdout.close()
    row = Row("readyz-under-load", "`run`, GET /readyz beside 1,000 slow connections", Samples(values),
              runs=f"{requests} requests")
    row.judge("each within 100 ms", lambda ours: max(ours.values) <= 100e6 and refused == 0)
    row.notes.append(f"slowest {max(values) / 1e6:.2f} ms, {refused} not answered with 200; connections open: "
                     f"median {held['median']}, at least {held['minimum']}; closed by the server and opened "
                     f"again: {held['reopened']}")
    return [row]

"""warm-init and release-to-app: what the phases cost when there is nothing to do, and when twelve nodes wait for one."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .bench import Unavailable, free_port
from .report import Row, Samples

NODES = 12

SETTINGS = """\
run_id: r1
state_dir: {state}
run_dir: {folder}/run{node}
infrastructure:
  steps:
    - {{name: migrate, run: "sleep 1; touch {folder}/migrated"}}
node:
  marker_dir: {folder}/markers
  steps:
    - {{name: static, run: [/bin/true]}}
health: {{listen: "127.0.0.1:{port}"}}
"""


def environment():
    """Ours without what would change the settings."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("SUPERVISOR_", "AUTOINIT_"))}


def write_settings(folder, state, node, port):
    path = folder / f"node{node}.yml"
    path.write_text(SETTINGS.format(folder=folder, state=state, node=node, port=port))
    return str(path)


def warm_init(bench):
    """Readiness and marker are there: from the start of the program to its end, beside /bin/true."""
    runs = 20 if bench.quick else 100
    folder = Path(tempfile.mkdtemp(prefix="init", dir=bench.work))
    settings = write_settings(folder, folder / "state", 0, free_port())
    command = [str(bench.programs["ours"]), "init", "--settings", settings]
    log = open(folder / "log", "wb")

    def run(words):
        began = time.monotonic_ns()
        code = subprocess.run(words, stdout=log, stderr=log, env=environment(), check=False).returncode
        return time.monotonic_ns() - began, code

    _, code = run(command)
    if code != 0:
        raise Unavailable(f"n/a: the first init ended with {code}")
    ours, floor = [], []
    for _ in range(runs):
        elapsed, code = run(command)
        if code != 0:
            raise Unavailable(f"n/a: a warm init ended with {code}")
        ours.append(elapsed)
        floor.append(run(["/bin/true"])[0])
    row = Row("warm-init", "`init`, both phases complete already: the whole program", Samples(ours),
              runs=f"{runs} runs")
    row.judge("median under 20 ms", lambda values: values.median < 20e6)
    row.notes.append(f"/bin/true, started the same way: {Samples(floor).text()}")
    shutil.rmtree(folder, ignore_errors=True)
    return [row]


def release_to_app(bench):
    """Twelve nodes on one state_dir and one marker: from the release being ready to the last app's first instruction."""
    rounds = 2 if bench.quick else 10
    spreads = []
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="fleet", dir=bench.work))
        (folder / "markers").mkdir(mode=0o700)
        # The node phase is trivial: its marker is there.
        (folder / "markers" / ".autoinit_node_r1.marker").touch()
        spreads.append(one_fleet(bench, folder))
        shutil.rmtree(folder, ignore_errors=True)
    row = Row("release-to-app", f"{NODES} nodes on one `state_dir`: readiness set to the last app", Samples(spreads),
              runs=f"{rounds} fleets")
    row.judge("each within 100 ms", lambda values: max(values.values) <= 100e6)
    row.notes.append("readiness: the record's own time; the app is `date` in a shell, whose own start is in it")
    return [row]


def one_fleet(bench, folder):
    processes, outputs = [], []
    for node in range(NODES):
        settings = write_settings(folder, folder / "state", node, free_port())
        output = open(folder / f"app{node}", "wb+")
        outputs.append(output)
        processes.append(subprocess.Popen(
            [str(bench.programs["ours"]), "run", "--settings", settings, "--", "/bin/sh", "-c", "date +%s%N"],
            stdout=output, stderr=open(folder / f"log{node}", "wb"), env=environment()))
    codes = [process.wait(timeout=60) for process in processes]
    if any(codes):
        raise Unavailable(f"n/a: a node ended with {max(codes)}")
    record = (folder / "state" / "releases" / "r1.release").read_text()
    ready = int(next(line.split()[1] for line in record.splitlines() if line.startswith("complete ")))
    apps = []
    for output in outputs:
        output.seek(0)
        apps.append(int(output.read().split()[0]))
    return max(apps) - ready

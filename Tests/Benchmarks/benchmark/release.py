"""release: fleets on a real PostgreSQL, direct and behind PgBouncer; what a warm start costs there, and the agent's size."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .bench import Unavailable, free_port
from .phases import environment
from .report import Row, Samples

ROOT = Path(__file__).resolve().parents[3]
SERVER = ROOT / "Tests" / "Support" / "Servers" / "server.sh"

SETTINGS = """\
run_id: r1
run_dir: {folder}/run{node}
state_dir: {folder}/state{node}
coordination:
  lock: postgres
  project: {project}
  postgres: {{url: "host=127.0.0.1 port={port} user=postgres dbname=postgres"}}
infrastructure:
  steps:
    - {{name: migrate, run: "while [ ! -e {folder}/go ]; do sleep 0.02; done"}}
node:
  marker_dir: {folder}/markers{node}
  steps:
    - {{name: static, run: [/bin/true]}}
health: {{listen: "127.0.0.1:{page}"}}
"""


class Server:
    """PostgreSQL, and PgBouncer in transaction mode before it, as the tests have them."""

    def __init__(self, bench):
        self.port, self.pooled = free_port(), None
        folder = Path(tempfile.mkdtemp(prefix="server", dir=bench.work))
        bench.work.chmod(0o755)
        folder.chmod(0o755)
        self.log = open(bench.work / "server.log", "wb")
        self.process = subprocess.Popen(["bash", str(SERVER), str(folder), str(self.port)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.hear("start")

    def obey(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        self.hear(order)

    def hear(self, order):
        answer = self.process.stdout.readline().strip()
        if answer != "ok":
            self.close()
            raise Unavailable(f"n/a: the test server says of '{order}': {answer or 'nothing'}")

    def pool(self, size):
        self.pooled = free_port()
        self.obey(f"bouncer {self.pooled} {size}")

    def ask(self, query):
        result = subprocess.run(["psql", "-X", "-At", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", query],
                                capture_output=True, text=True, check=False)
        return result.stdout.strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


class Fleet:
    """So many nodes of one release."""

    counter = 0

    def __init__(self, bench, server, port, nodes):
        Fleet.counter += 1
        self.project = f"fleet-{Fleet.counter}"
        self.server = server
        self.folder = Path(tempfile.mkdtemp(prefix="fleet", dir=bench.work))
        self.processes = []
        for node in range(nodes):
            markers = self.folder / f"markers{node}"
            markers.mkdir(mode=0o700)
            # The node phase is trivial: its marker is there.
            (markers / ".autoinit_node_r1.marker").touch()
            settings = self.folder / f"node{node}.yml"
            settings.write_text(SETTINGS.format(folder=self.folder, node=node, project=self.project, port=port,
                                                page=free_port()))
            self.processes.append(subprocess.Popen(
                [bench.programs["ours"], "run", "--settings", str(settings), "--", str(bench.work / "moment")],
                stdout=open(self.folder / f"app{node}", "wb+"), stderr=open(self.folder / f"log{node}", "wb"),
                env=environment()))

    def agents(self):
        found = []
        for process in self.processes:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            found += [int(child) for child in children if name(child) == "supervisor-agen"]
        return found

    def wait_until_all_wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            logs = [(self.folder / f"log{node}").read_text() for node in range(len(self.processes))]
            if sum("waiting for" in log for log in logs) >= len(logs) - 1 and any("migrate: started" in log for log in logs):
                return
            time.sleep(0.05)
        raise Unavailable("n/a: the nodes do not wait for one of them")

    def release(self):
        """Lets the step end; from readiness to each app, and from the end of the step to the last of them."""
        gone = time.time_ns()
        (self.folder / "go").touch()
        deadline = time.monotonic() + 60
        outputs = [self.folder / f"app{node}" for node in range(len(self.processes))]
        while not all(output.read_text().endswith("\n") for output in outputs):
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                raise Unavailable("n/a: a node did not start its app")
            time.sleep(0.02)
        ready = int(float(self.server.ask(
            "SELECT extract(epoch FROM completed_at) * 1000000 FROM supervisor_release "
            f"WHERE project = '{self.project}'")) * 1000)
        apps = [int(output.read_text()) for output in outputs]
        return [app - ready for app in apps], max(apps) - gone

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            process.wait(timeout=30)


def name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def rss(pid, field="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise Unavailable("n/a: the agent is gone")


def release(bench):
    if not bench.has_agent:
        raise Unavailable("n/a: there is no supervisor-agent beside the program")
    for program in ("psql", "pgbouncer"):
        if not shutil.which(program) and not Path("/usr/sbin", program).exists():
            raise Unavailable(f"n/a: {program} is missing: apt-get install -y postgresql pgbouncer")
    server = Server(bench)
    try:
        server.pool(10)
        rows = warm_start(bench, server)
        sizes = [4, 20] if bench.quick else [4, 20, 50]
        for nodes in sizes:
            for place, port, limit in (("direct", server.port, 50), ("through a pool of 10", server.pooled, 250)):
                rows += fleets(bench, server, nodes, place, port, limit)
        return rows
    finally:
        server.close()


def fleets(bench, server, nodes, place, port, limit):
    rounds = 1 if bench.quick else 5
    delays, lasts, memory = [], [], []
    for _ in range(rounds):
        fleet = Fleet(bench, server, port, nodes)
        try:
            fleet.wait_until_all_wait()
            # The agent gives back what its start alone needed within its first seconds.
            time.sleep(6 if nodes == 4 else 1)
            if nodes == 4:
                memory += [rss(pid) for pid in fleet.agents()]
            each, last = fleet.release()
            delays += each
            lasts.append(last)
        finally:
            fleet.close()
    row = Row("release", f"{nodes} nodes, PostgreSQL {place}: readiness set to an app's first act", Samples(delays),
              runs=f"{rounds} fleets")
    if nodes == 20:
        row.judge(f"median under {limit} ms", lambda values: values.median <= limit * 1e6)
    rows = [row, Row("release", f"{nodes} nodes, {place}: end of the step to the last app", Samples(lasts),
                     runs=f"{rounds} fleets")]
    if memory:
        size = Row("release", f"the agent of a node that waits or works, {place}: resident", Samples(memory, "bytes"),
                   runs=f"{len(memory)} agents")
        rows.append(size.judge("at most 20 MB", lambda values: max(values.values) <= 20e6))
    return rows


def warm_start(bench, server):
    """Readiness in PostgreSQL and the marker are there: `run`, from its start to its app's first act."""
    runs = 10 if bench.quick else 50
    fleet = Fleet(bench, server, server.port, 1)
    fleet.release()
    command = fleet.processes[0].args
    fleet.stop()
    spent = []
    for _ in range(runs):
        began = time.time_ns()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()) as process:
            line = process.stdout.readline()
            process.terminate()
        if not line:
            raise Unavailable(f"n/a: a warm start ended with {process.returncode}")
        spent.append(int(line) - began)
    fleet.close()
    row = Row("release", "`run`, everything done before, PostgreSQL direct: start of the program to the app's first act",
              Samples(spent), runs=f"{runs} runs")
    return [row.judge("median under 50 ms", lambda values: values.median < 50e6)]


"""The work folder, the programs that are compared, and how to start them."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROBES = Path(__file__).resolve().parent.parent / "probes"
CC_FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE"]
PROBE_FLAGS = {
    "first": ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"],
    "child": ["-static"],
    "moment": ["-static"],
    "launch": [],
    "orphans": ["-static", "-pthread"],
}


class Unavailable(Exception):
    """Something cannot be measured here; the text says why and stands in the table in place of a number."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


class Bench:
    """Copies of the programs in a work folder, evicted from the page cache once and then run once.

    A freshly linked or copied file sits in the page cache as large dirty folios; the kernel then maps far more of
    it per fault, and memory figures double. Written out, evicted and read back it looks as it does in production.
    """

    def __init__(self, binary, work, quick):
        self.work = work
        self.quick = quick
        self.warnings = []
        self.log_path = work / "stderr.log"
        self.log = open(self.log_path, "ab")
        self.compile_probes()
        self.programs = {"ours": self.install(Path(binary), "supervisor")}
        agent = Path(binary).resolve().parent / "supervisor-agent"
        self.has_agent = agent.exists()
        if self.has_agent:
            self.install(agent, "supervisor-agent")
        for name in ("tini", "dumb-init"):
            found = shutil.which(name)
            if found:
                self.programs[name] = self.install(Path(found), name)
            else:
                self.warnings.append(f"{name} is not in PATH; to compare with it: apt-get install -y {name}")
        self.missing = {}
        self.probe_subcommands()

    def close(self):
        self.log.close()

    def compile_probes(self):
        for name, flags in PROBE_FLAGS.items():
            command = ["cc", *CC_FLAGS, *flags, "-o", str(self.work / name), str(PROBES / f"{name}.c")]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode != 0:
                raise SystemExit(f"cannot compile {name}.c (apt-get install -y gcc libc6-dev):\n{result.stderr}")

    def install(self, source, name):
        target = self.work / name
        shutil.copyfile(source.resolve(), target)
        target.chmod(0o755)
        with open(target, "rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        subprocess.run([target, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        return str(target)

    def probe_subcommands(self):
        """Finds out which subcommands this build has, by the exit code of a command that only they could run."""
        for name in ("exec", "run"):
            command = [self.programs["ours"], name, "--", "/bin/sh", "-c", "exit 7"]
            try:
                result = subprocess.run(command, env=self.run_environment(free_port()), cwd=self.work,
                                        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
            except subprocess.TimeoutExpired:
                self.missing[name] = f"n/a: `supervisor {name}` did not end within 20 s"
                continue
            if result.returncode != 7:
                self.missing[name] = (f"n/a: this build has no working `{name}` (code {result.returncode}: "
                                      f"{last_line(result.stderr)})")

    # Commands

    def run_environment(self, port):
        """The environment of `supervisor run`: everything it writes goes to the work folder."""
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.work),
            "SUPERVISOR_RUN_ID": "benchmark",
            "SUPERVISOR_RUN_DIR": str(self.folder("run")),
            "SUPERVISOR_STATE_DIR": str(self.folder("state")),
            "SUPERVISOR_NODE_MARKER_DIR": str(self.work / "markers"),
            "SUPERVISOR_HEALTH_LISTEN": f"127.0.0.1:{port}",
        }

    def folder(self, name):
        path = self.work / name
        path.mkdir(mode=0o755, exist_ok=True)
        return path

    def probe(self, name):
        return str(self.work / name)

    def inits(self, *child, pid_1=False, run=False):
        """What is compared: name → command line that runs `child` under it.

        Outside a PID namespace all are asked to be (or are told that they are) subreapers: without it tini
        writes a three-line warning first, which would be measured. `pid_1` leaves that out, and asks for
        signals to the child only, which is tini's default and not dumb-init's nor ours.
        """
        ours, found = self.programs["ours"], {}
        if run and "run" not in self.missing:
            found["run"] = [ours, "run", "--", *child]
        if "exec" not in self.missing:
            option = ["--signal-target", "child"] if pid_1 else ["--subreaper"]
            found["exec"] = [ours, "exec", *option, "--", *child]
        if "tini" in self.programs:
            found["tini"] = [self.programs["tini"], *([] if pid_1 else ["-s"]), "--", *child]
        if "dumb-init" in self.programs:
            found["dumb-init"] = [self.programs["dumb-init"], *(["-c"] if pid_1 else []), "--", *child]
        return found

    def samples_or_reason(self, name, samples):
        """`samples`, or why there are none for this program."""
        if samples is not None:
            return samples
        return self.missing.get(name, "n/a: not installed" if name in ("tini", "dumb-init") else "n/a")

    def output_of(self, command, timeout, environment=None):
        """Runs a probe to its end and returns its stdout; its stderr goes to the log."""
        before = self.log_path.stat().st_size
        try:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log,
                                    cwd=self.work, env=environment, timeout=timeout, text=True)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"n/a: no result within {timeout} s") from None
        if result.returncode != 0:
            with open(self.log_path, "rb") as log:
                log.seek(before)
                reason = last_line(log.read().decode(errors="replace"))
            raise Unavailable(f"n/a: {reason}")
        return result.stdout

    def launch(self, what, rounds, extra, commands, timeout=600):
        """Runs the C launcher; returns name → what → list of numbers."""
        arguments = []
        for command in commands.values():
            arguments += ([":::"] if arguments else []) + command
        environment = self.run_environment(free_port()) if "run" in commands else None
        output = self.output_of([self.probe("launch"), what, str(rounds), str(extra), *arguments], timeout,
                                environment)
        names = list(commands)
        results = {name: {} for name in names}
        for line in output.splitlines():
            index, key, value = line.split()
            results[names[int(index)]].setdefault(key, []).append(int(value))
        return results


class Running:
    """A program that was started and is ended again, by its own process ID, however the block is left."""

    def __init__(self, bench, command, environment=None, stdout=subprocess.PIPE):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=bench.log,
                                        cwd=bench.work, env=environment)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def wait_for_child(self):
        """Waits for the 8 bytes with which the child probe says that it runs."""
        if len(self.process.stdout.read(8)) != 8:
            raise Unavailable(f"n/a: {Path(self.process.args[0]).name} ended before its child ran")


def get(port, path, timeout=10):
    """One GET on a connection of its own; returns the status code."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def wait_until_ready(port, seconds=20):
    deadline, status = time.monotonic() + seconds, "no answer"
    while time.monotonic() < deadline:
        try:
            status = get(port, "/readyz", timeout=2)
            if status == 200:
                return
        except OSError as error:
            status = error
        time.sleep(0.02)
    raise Unavailable(f"n/a: /readyz did not turn 200 within {seconds} s (last: {status})")

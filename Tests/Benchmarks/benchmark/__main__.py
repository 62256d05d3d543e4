"""run.sh's program: runs the benchmarks, prints the table, writes the JSON."""

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from . import idle, phases, release, service, timing
from .bench import Bench, Unavailable
from .report import Row, markdown

BENCHMARKS = {
    "start": timing.start,
    "signal-latency": timing.signal_latency,
    "stop": timing.stop,
    "memory": idle.memory,
    "wakeups": idle.wakeups,
    "restart-latency": service.restart_latency,
    "readyz-under-load": service.readyz_under_load,
    "warm-init": phases.warm_init,
    "release-to-app": phases.release_to_app,
    "release": release.release,
    "orphans": timing.orphans,  # last: the kernel tidies up for a while after it
}


def arguments():
    parser = argparse.ArgumentParser(
        prog="run.sh", description="Measures a release build of supervisor against tini and dumb-init.")
    parser.add_argument("binary", metavar="BINARY", help="the release build of supervisor")
    parser.add_argument("--quick", action="store_true", help="fewer runs: to see that it works, not to quote")
    parser.add_argument("--only", metavar="NAME", action="append", choices=list(BENCHMARKS),
                        help="run this benchmark only (repeatable): " + ", ".join(BENCHMARKS))
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure does not hold")
    parser.add_argument("--work", metavar="FOLDER", default=os.environ.get("TMPDIR", "/var/tmp"),
                        help="where the temporary folder is made; a disk, not a tmpfs (default: /var/tmp)")
    return parser.parse_args()


def machine():
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": model,
        "processors": os.cpu_count(),
        "load": load,
    }


def main():
    options = arguments()
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"{options.binary} is not a program; build one with: deploy/build.sh OUT")
    options.work = os.path.abspath(options.work)
    here, rows = machine(), []
    work = Path(tempfile.mkdtemp(prefix="supervisor-benchmarks-", dir=options.work))
    bench = None
    try:
        bench = Bench(options.binary, work, options.quick)
        for warning in bench.warnings:
            print(f"note: {warning}", file=sys.stderr)
        for name in options.only or BENCHMARKS:
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                rows += BENCHMARKS[name](bench)
            except Unavailable as error:
                rows.append(Row(name, "not measured", str(error)))
    finally:
        if bench:
            bench.close()
        shutil.rmtree(work, ignore_errors=True)
    size = os.path.getsize(options.binary)
    print(f"{here['date']}, Linux {here['kernel']} {here['machine']}, {here['processors']} × {here['processor']}, "
          f"load before {here['load']}, program {size / 1e6:.1f} MB" + (", **quick run**" if options.quick else ""))
    print()
    print(markdown(rows))
    if options.json:
        content = {"machine": here, "quick": options.quick, "program_bytes": size,
                   "rows": [row.as_json() for row in rows]}
        Path(options.json).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if options.check and any(row.holds is False for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()

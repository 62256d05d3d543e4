"""start, signal-latency, orphans, stop: the clocks are read by the C probes, in turn for each program."""

import os

from .bench import Unavailable, free_port
from .report import Row, Samples


def columns(bench, results, key, unit="ns", ours="exec"):
    """The three columns of a row, from what `Bench.launch` returned."""

    def column(name):
        values = results.get(name, {}).get(key)
        return bench.samples_or_reason(name, Samples(values, unit) if values else None)

    return {"ours": column(ours), "tini": column("tini"), "dumb_init": column("dumb-init")}


def start(bench):
    rounds, cold_rounds = (60, 5) if bench.quick else (400, 20)
    commands = bench.inits(bench.probe("first"))
    results = bench.launch("start", rounds, 10, {**commands, "bare": [bench.probe("first")]})
    warm = Row("start", "`exec`, from execve to the child's first instruction",
               **columns(bench, results, "start"), runs=f"{rounds} runs each").judge_ratio(2)
    floor = Samples(results["bare"]["start"])
    warm.notes.append(f"without any init the same takes {floor.text()}")
    try:
        results = bench.launch("cold", cold_rounds, 1, commands)
        cold = Row("start", "the same, the program itself read from disk", **columns(bench, results, "start"),
                   runs=f"{cold_rounds} runs each")
        cold.notes.append("cold: the shared libraries of tini and dumb-init stay in the page cache (other "
                          "processes use them), our program has none: this compares file sizes, not designs")
    except Unavailable as error:
        cold = Row("start", "the same, the program itself read from disk", str(error))
    return [warm, cold]


def signal_latency(bench):
    block, rounds = 25, 8 if bench.quick else 60
    commands = bench.inits(bench.probe("child"), "answer")
    results = bench.launch("signal", rounds, block, commands)
    runs = f"{rounds * block} signals each"
    latency = Row("signal-latency", "`exec`, USR1 until the child's handler runs",
                  **columns(bench, results, "latency"), runs=runs).judge_ratio(1.5)
    cost = Row("signal-latency", "`exec`, processor time per signal", **columns(bench, results, "processor"),
               runs=runs)
    rows = [latency, cost]
    if "run" not in bench.missing:
        # On its own beside the peers, so that its row is from one machine state too.
        commands = {name: command for name, command in bench.inits(bench.probe("child"), "answer", run=True).items()
                    if name != "exec"}
        run_results = bench.launch("signal", rounds, block, commands)
        results["run"] = run_results["run"]
        rows.append(Row("signal-latency", "`run`, USR1 until the child's handler runs",
                        **columns(bench, run_results, "latency", ours="run"), runs=runs))
    for name, result in results.items():
        lost = sum(result.get("lost", []))
        if lost:
            latency.notes.append(f"{name} lost {lost} signals")
            latency.holds = False if name in ("exec", "run") else latency.holds
    return rows


def stop(bench):
    rounds = 10 if bench.quick else 50
    commands = bench.inits(bench.probe("child"), "obey", run=True)
    results = bench.launch("stop", rounds, 2, commands)
    rows = []
    for name in ("run", "exec"):
        row = Row("stop", f"`{name}`, from the app's own end to the end of the init",
                  **columns(bench, results, "stop", ours=name), runs=f"{rounds} runs each")
        if name == "run":
            row.judge("median within 20 ms", lambda ours: ours.median <= 20e6)
            row.notes.append("the app's end includes the kernel's own work to end a process")
        bad = [code for code in results.get(name, {}).get("code", []) if code != 0]
        if bad:
            row.notes.append(f"`{name}` ended with {sorted(set(bad))} though the app ended with 0")
        rows.append(row)
        if name in results:
            rows.append(Row("stop", f"`{name}`, from TERM to the end of the init",
                            **columns(bench, results, "asked", ours=name)))
    return rows


def orphan_round(bench, command, mode, count, signals):
    """One PID namespace, one burst; returns what → number."""
    environment = bench.run_environment(free_port()) if command[1] == "run" else None
    output = bench.output_of(
        ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", *command, bench.probe("orphans"), mode,
         str(count), signals],
        timeout=200, environment=environment)
    return {key: float(value) for key, value in (line.split() for line in output.splitlines())}


def orphan_rounds(bench, mode, count, signals, rounds, run):
    """name → what → list of numbers, the programs in turn and in changing order."""
    commands = bench.inits(pid_1=True, run=run)
    results = {name: {} for name in commands}
    for turn in range(rounds):
        order = list(commands) if turn % 2 == 0 else list(reversed(commands))
        for name in order:
            for key, value in orphan_round(bench, commands[name], mode, count, signals).items():
                results[name].setdefault(key, []).append(value)
    for result in results.values():
        result["rate"] = [count / seconds for seconds in result["seconds"]]
    return results


def orphans(bench):
    if os.geteuid() != 0:
        raise Unavailable("n/a: a PID namespace needs root here")
    count, rounds = (2000, 3) if bench.quick else (10000, 9)
    rows = []

    def no_zombie(row, results, name):
        left = sum(results.get(name, {}).get("zombies", []))
        if left:
            row.holds = False
            row.notes.append(f"`{name}` left {left:.0f} zombies")

    for mode, what in (("stream", "one after the other"), ("burst", "inherited at once")):
        results = orphan_rounds(bench, mode, count, "quiet", rounds, run=True)
        runs = f"{rounds} × {count}"
        for name in ("exec", "run"):
            cost = Row("orphans", f"`{name}`, {what}: processor time of PID 1 per orphan",
                       **columns(bench, results, "processor", ours=name), runs=runs)
            if name == "exec":
                cost.judge_ratio(1.5)
            no_zombie(cost, results, name)
            rows.append(cost)
            if name in results:
                rows.append(Row("orphans", f"`{name}`, {what}: orphans reaped per second (more is better)",
                                **columns(bench, results, "rate", "/s", ours=name), runs=runs))

    for mode, what in (("burst", "inherited at once"), ("storm", "dying at once")):
        results = orphan_rounds(bench, mode, count, "forwarded", rounds, run=True)
        direct = orphan_rounds(bench, mode, count, "direct", max(3, rounds // 3), run=False)
        floor = max(value for result in direct.values() for value in result["slowest"])
        for name in ("run", "exec"):
            sent = sum(results.get(name, {}).get("sent", []))
            row = Row("orphans", f"`{name}`, {what}: slowest answer to a signal meanwhile, per burst",
                      **columns(bench, results, "slowest", ours=name),
                      runs=f"{rounds} × {count}, {sent:.0f} signals")
            if name == "run" and mode == "burst":
                row.judge("each within 100 ms, none lost, no zombie", lambda ours: max(ours.values) <= 100e6)
            if sum(results.get(name, {}).get("lost", [])):
                row.holds = False
                row.notes.append(f"`{name}` lost signals")
            no_zombie(row, results, name)
            row.notes.append(f"{what}: a signal sent straight to the app, past PID 1, took up to "
                             f"{floor / 1e6:.1f} ms in the same load")
            rows.append(row)
    return rows

"""Samples, rows and the table that is made of them."""

import statistics
from dataclasses import dataclass, field

UNITS = {
    "ns": [(1, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")],
    "bytes": [(1, "B"), (1e3, "kB"), (1e6, "MB")],
}


def scaled(value, unit):
    """A number with three significant digits and the unit that fits its size."""
    if unit not in UNITS:
        text = f"{value:.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"
        return f"{text} {unit}".rstrip()
    factor, name = UNITS[unit][0]
    for candidate, label in UNITS[unit]:
        if abs(value) >= candidate:
            factor, name = candidate, label
    number = value / factor
    return f"{number:.0f} {name}" if number >= 100 else f"{number:.3g} {name}"


@dataclass
class Samples:
    """What was measured for one program: values in one unit ("ns", "bytes", "/s", "" for counts)."""

    values: list
    unit: str = "ns"

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def p99(self):
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]

    def text(self):
        """The median with the spread: p99 from 100 values on, else smallest to largest."""
        count = len(self.values)
        if count == 1:
            return scaled(self.values[0], self.unit)
        if count >= 100:
            spread = f"p99 {scaled(self.p99, self.unit)}"
        else:
            spread = f"{scaled(min(self.values), self.unit)} to {scaled(max(self.values), self.unit)}"
        return f"{scaled(self.median, self.unit)} ({spread})"

    def as_json(self):
        return {
            "unit": self.unit,
            "count": len(self.values),
            "median": self.median,
            "p99": self.p99,
            "minimum": min(self.values),
            "maximum": max(self.values),
        }


@dataclass
class Row:
    """One line of the table.

    `ours`, `tini` and `dumb_init` are Samples, or a text that says why there are none. `holds` is None for a row
    that has no figure to reach, or could not be measured.
    """

    benchmark: str
    what: str
    ours: object
    tini: object = "–"
    dumb_init: object = "–"
    figure: str = "–"
    holds: object = None
    runs: str = ""
    notes: list = field(default_factory=list)

    def ratio(self, peer):
        """Our median divided by the peer's; None when one of them is missing or the peer's is 0."""
        if isinstance(self.ours, Samples) and isinstance(peer, Samples) and peer.median:
            return self.ours.median / peer.median
        return None

    def judge_ratio(self, most):
        """Sets the figure "at most N × tini's" and whether it holds."""
        self.figure = f"at most {most:g} × tini's"
        ratio = self.ratio(self.tini)
        if ratio is not None:
            self.holds = ratio <= most
        return self

    def judge(self, figure, predicate):
        """Sets a figure in words, and whether our samples meet it."""
        self.figure = figure
        if isinstance(self.ours, Samples):
            self.holds = bool(predicate(self.ours))
        return self

    def cells(self):
        def cell(value):
            return value.text() if isinstance(value, Samples) else str(value)

        ratios = []
        for name, peer in (("tini", self.tini), ("dumb-init", self.dumb_init)):
            ratio = self.ratio(peer)
            if ratio is not None:
                ratios.append(f"{ratio:.2f} × {name}")
        verdict = {True: "yes", False: "**no**", None: "–"}[self.holds]
        what = f"{self.benchmark}: {self.what}" + (f" ({self.runs})" if self.runs else "")
        return [what, cell(self.ours), cell(self.tini), cell(self.dumb_init), ", ".join(ratios) or "–",
                self.figure, verdict]

    def as_json(self):
        def value(one):
            return one.as_json() if isinstance(one, Samples) else None if one == "–" else {"missing": str(one)}

        return {
            "benchmark": self.benchmark,
            "what": self.what,
            "runs": self.runs,
            "ours": value(self.ours),
            "tini": value(self.tini),
            "dumb_init": value(self.dumb_init),
            "ratio_to_tini": self.ratio(self.tini),
            "ratio_to_dumb_init": self.ratio(self.dumb_init),
            "figure": self.figure,
            "holds": self.holds,
            "notes": self.notes,
        }


HEADINGS = ["what", "ours", "tini", "dumb-init", "ratio of medians", "figure to reach", "holds"]


def markdown(rows):
    """The table, and below it the rows' notes."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    for row in rows:
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in row.cells()) + " |")
    notes = [f"- {row.benchmark}: {note}" for row in rows for note in row.notes]
    if notes:
        lines += ["", *dict.fromkeys(notes)]
    return "\n".join(lines)

"""What the three commands that do something have in common."""

import sys

from django.core.management.base import BaseCommand

from autoinit import conf
from autoinit.exceptions import AutoInitError


class PhaseCommand(BaseCommand):
    """One line at the start, one at the end; the package's own errors are a line on standard error and exit code 1."""

    name = ""
    has_node_phase = False

    def add_arguments(self, parser):
        parser.add_argument("--run-id")
        parser.add_argument("--timeout", type=int)
        if self.has_node_phase:
            parser.add_argument("--fatal-on-error", action="store_true")

    def handle(self, *args, **options):
        run_id = conf.run_id(options["run_id"])
        self.stdout.write("%s: starting (run_id=%s)" % (self.name, run_id))
        try:
            self.work(run_id, conf.timeout(options["timeout"]), options)
        except AutoInitError as error:
            self.stderr.write("%s: FAILED - %s" % (self.name, error))
            sys.exit(1)
        self.stdout.write("%s: completed" % self.name)

    def work(self, run_id, timeout, options):
        raise NotImplementedError

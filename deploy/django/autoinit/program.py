"""The `supervisor` program, called by the commands."""

import os
import shutil
import subprocess
import sys

from django.core.management.base import BaseCommand, CommandError

from autoinit.exceptions import AutoInitError, AutoInitInfrastructureError, AutoInitTimeoutError

# Exit codes of supervisor.
TIMEOUT = 75
PHASE_FAILED = 76


class SupervisorCommand(BaseCommand):
    """A command that is one of supervisor's."""

    # supervisor's own steps check what they need.
    requires_system_checks = []

    def call(self, *arguments):
        """Becomes `supervisor` with these arguments; through call_command runs it and raises what went wrong."""
        if os.environ.get("SUPERVISOR_PHASE") in ("infrastructure", "node"):
            raise CommandError("this runs within a phase of supervisor, and would wait for itself")
        program = shutil.which(os.environ.get("SUPERVISOR_PROGRAM") or "supervisor")
        if program is None:
            raise CommandError("supervisor is not in PATH; SUPERVISOR_PROGRAM may name it")
        command = [program] + list(arguments)
        if getattr(self, "_called_from_command_line", False):
            sys.stdout.flush()
            sys.stderr.flush()
            os.execv(program, command)
        code = subprocess.run(command, check=False).returncode
        if code:
            raise self.error(arguments, code)

    @staticmethod
    def error(arguments, code):
        text = "`supervisor %s` ended with %d; its output says why" % (" ".join(arguments), code)
        if code == TIMEOUT:
            return AutoInitTimeoutError(text)
        if code == PHASE_FAILED and "node" not in arguments:
            return AutoInitInfrastructureError(text)
        return AutoInitError(text)


class InitCommand(SupervisorCommand):
    """`supervisor init`, or one phase of it."""

    phase = None

    def add_arguments(self, parser):
        parser.add_argument("--run-id", help="the release")
        parser.add_argument("--timeout", type=int, help="seconds to wait without progress")
        if self.phase != "infrastructure":
            parser.add_argument("--fatal-on-error", action="store_true", help="a failed hook ends the start")

    def handle(self, *args, **options):
        arguments = ["init"] + ([self.phase] if self.phase else [])
        if options.get("run_id"):
            arguments += ["--run-id", options["run_id"]]
        # Zero is one try here; before, it meant the default.
        if options.get("timeout") is not None:
            arguments += ["--timeout", "%ds" % options["timeout"]]
        if options.get("fatal_on_error"):
            arguments.append("--fatal-on-error")
        self.call(*arguments)

from django.core.management.base import BaseCommand

from autoinit import conf, readiness


class Command(BaseCommand):
    help = "Shows or changes readiness. The exit code is 0 in every case."

    def add_arguments(self, parser):
        parser.add_argument("action", choices=["check", "set", "clear"])
        parser.add_argument("--run-id")

    def handle(self, *args, **options):
        run_id = conf.run_id(options["run_id"])
        if options["action"] == "set":
            readiness.set_ready(run_id)
            state = "SET"
        elif options["action"] == "clear":
            readiness.clear(run_id)
            state = "CLEARED"
        else:
            state = "READY" if readiness.is_ready(run_id) else "NOT READY"
        self.stdout.write("autoinit readiness (run_id=%s): %s" % (run_id, state))

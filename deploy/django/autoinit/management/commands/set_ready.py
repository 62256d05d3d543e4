from autoinit.program import SupervisorCommand


class Command(SupervisorCommand):
    help = "Looks at, sets or clears release readiness: supervisor ready."

    def add_arguments(self, parser):
        parser.add_argument("action", choices=["check", "set", "clear"])
        parser.add_argument("--run-id", help="the release")

    def handle(self, *args, **options):
        arguments = ["ready", options["action"]]
        if options.get("run_id"):
            arguments += ["--run-id", options["run_id"]]
        self.call(*arguments)

from autoinit.program import InitCommand


class Command(InitCommand):
    help = "Runs both phases: supervisor init."

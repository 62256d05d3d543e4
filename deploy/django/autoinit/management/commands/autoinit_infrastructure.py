from autoinit.program import InitCommand


class Command(InitCommand):
    help = "Runs the infrastructure phase: supervisor init infrastructure."
    phase = "infrastructure"

from autoinit.program import InitCommand


class Command(InitCommand):
    help = "Runs the node phase: supervisor init node."
    phase = "node"

from autoinit import infrastructure, node
from autoinit.command import PhaseCommand


class Command(PhaseCommand):
    help = "Both phases in one process."
    name = "autoinit"
    has_node_phase = True

    def work(self, run_id, timeout, options):
        infrastructure.run(run_id, timeout)
        node.run(run_id, timeout, options["fatal_on_error"])

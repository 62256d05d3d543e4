from autoinit import node
from autoinit.command import PhaseCommand


class Command(PhaseCommand):
    help = "The phase of a node."
    name = "autoinit_node"
    has_node_phase = True

    def work(self, run_id, timeout, options):
        node.run(run_id, timeout, options["fatal_on_error"])

from autoinit import infrastructure
from autoinit.command import PhaseCommand


class Command(PhaseCommand):
    help = "The phase of the cluster."
    name = "autoinit_infrastructure"

    def work(self, run_id, timeout, options):
        infrastructure.run(run_id, timeout)

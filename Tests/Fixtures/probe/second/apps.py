from django.apps import AppConfig

from probe.hooks import run


class SecondConfig(AppConfig):
    name = "second"

    def handle_infrastructure_init(self):
        return run("second", "infrastructure")

    def handle_node_init(self):
        return run("second", "node")

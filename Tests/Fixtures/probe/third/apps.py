from django.apps import AppConfig

from probe.hooks import run


class ThirdConfig(AppConfig):
    name = "third"

    def handle_infrastructure_init(self):
        return run("third", "infrastructure")

    def handle_node_init(self):
        return run("third", "node")

from django.apps import AppConfig

from probe.hooks import run


class FirstConfig(AppConfig):
    name = "first"

    def handle_infrastructure_init(self):
        return run("first", "infrastructure")

    def handle_node_init(self):
        return run("first", "node")

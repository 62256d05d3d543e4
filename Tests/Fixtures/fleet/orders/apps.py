from autoinit import AutoInitMixin
from django.apps import AppConfig
from witness.record import hook


class OrdersConfig(AppConfig, AutoInitMixin):
    name = "orders"

    def handle_infrastructure_init(self):
        hook("orders", "infrastructure")

    def handle_node_init(self):
        hook("orders", "node")

from autoinit import AutoInitMixin
from django.apps import AppConfig
from witness.record import hook


class StockConfig(AppConfig, AutoInitMixin):
    name = "stock"

    def handle_infrastructure_init(self):
        hook("stock", "infrastructure")

    def handle_node_init(self):
        hook("stock", "node")

class AutoInitMixin:
    """Hooks of an AppConfig. Both may run more than once: a start that was killed in one begins it again."""

    def handle_infrastructure_init(self) -> None:
        """Once per cluster and release. An exception ends the start."""

    def handle_node_init(self) -> None:
        """Once per node and release. An exception is logged, and the hook called again at the next start."""

class AutoInitMixin:
    """Marks an AppConfig whose hooks are called: only instances of this class are."""

    def handle_infrastructure_init(self) -> None:
        """Once per cluster and run ID."""

    def handle_node_init(self) -> None:
        """Once per marker directory and run ID."""

class AutoInitError(Exception):
    """A start that did not come to its end."""


class AutoInitTimeoutError(AutoInitError):
    """A wait for the lock or for readiness ran out of time."""


class AutoInitInfrastructureError(AutoInitError):
    """The infrastructure phase failed."""

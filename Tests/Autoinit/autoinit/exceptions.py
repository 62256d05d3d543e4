class AutoInitError(Exception):
    """Of the package itself: a command tells these in one line, and lets all others through."""


class AutoInitTimeoutError(AutoInitError):
    """One of the four waits ran out of time."""


class AutoInitInfrastructureError(AutoInitError):
    """An infrastructure hook raised."""

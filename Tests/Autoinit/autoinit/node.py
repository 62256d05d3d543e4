"""The phase of a node: wait for readiness, look for the marker, lock, collect static files, call the hooks, mark."""

import logging
import time
from pathlib import Path

import filelock
from django.core.management import call_command

from autoinit import conf, hooks, readiness
from autoinit.exceptions import AutoInitTimeoutError

logger = logging.getLogger(conf.LOGGER)


def run(run_id, timeout, fatal_on_error=False):
    # Before the marker is looked at: a node that has done its part waits all the same.
    _wait_for_readiness(run_id, timeout)
    # By joining texts: a run ID with slashes leads elsewhere.
    stem = "%s/.autoinit_node_%s" % (conf.marker_directory(), run_id)
    marker = Path(stem + ".marker")
    if marker.exists():
        logger.info("autoinit: this node is initialized", extra={"run_id": run_id})
        return
    marker.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(stem + ".lock", timeout=timeout):
            if marker.exists():
                logger.info("autoinit: another process has initialized this node", extra={"run_id": run_id})
                return
            call_command("collectstatic", interactive=False, verbosity=1)
            _call_hooks(run_id, fatal_on_error)
            marker.touch()
    except filelock.Timeout as error:
        raise AutoInitTimeoutError("File lock acquisition timed out (timeout=%ds)" % timeout) from error


def _wait_for_readiness(run_id, timeout):
    deadline = time.monotonic() + timeout
    while not readiness.is_ready(run_id):
        if time.monotonic() >= deadline:
            raise AutoInitTimeoutError(
                "Timeout waiting for infrastructure readiness (run_id=%s, timeout=%ds)" % (run_id, timeout)
            )
        time.sleep(1)


def _call_hooks(run_id, fatal_on_error):
    for config in hooks.app_configs():
        try:
            config.handle_node_init()
        except Exception as error:
            if fatal_on_error:
                raise
            logger.warning(
                "autoinit: node hook failed (non-fatal)",
                extra={"run_id": run_id, "app": config.label, "error": str(error)},
            )

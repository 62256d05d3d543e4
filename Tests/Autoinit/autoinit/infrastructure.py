"""The phase of the cluster: wait for the database, lock, migrate, call the hooks, say ready."""

import datetime
import logging
import time

import pglock
from django.core.management import call_command
from django.db import connection

from autoinit import conf, hooks, readiness
from autoinit.exceptions import AutoInitInfrastructureError, AutoInitTimeoutError

logger = logging.getLogger(conf.LOGGER)


def run(run_id, timeout):
    _wait_for_database(timeout)
    if readiness.is_ready(run_id):
        logger.info("autoinit: infrastructure is ready already", extra={"run_id": run_id})
        return
    # On Django's own connection, which migrations and hooks use too: whoever closes it gives the lock away.
    with pglock.advisory(conf.LOCK_NAME, timeout=datetime.timedelta(seconds=timeout)) as acquired:
        if not acquired:
            raise AutoInitTimeoutError("Lock acquisition timed out (timeout=%ds)" % timeout)
        if readiness.is_ready(run_id):
            logger.info("autoinit: another node has made it ready", extra={"run_id": run_id})
            return
        logger.info("autoinit: migrating", extra={"run_id": run_id})
        call_command("migrate", interactive=False, verbosity=1)
        _call_hooks(run_id)
        readiness.set_ready(run_id)
        logger.info("autoinit: infrastructure is ready", extra={"run_id": run_id})


def _wait_for_database(timeout):
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.ensure_connection()
            return
        except Exception as error:  # the permanent ones too
            if time.monotonic() >= deadline:
                raise AutoInitTimeoutError(
                    "Timeout waiting for database connection (timeout=%ds): %s" % (timeout, error)
                ) from error
            time.sleep(1)


def _call_hooks(run_id):
    for config in hooks.app_configs():
        logger.info("autoinit: infrastructure hook", extra={"run_id": run_id, "app": config.label})
        try:
            config.handle_infrastructure_init()
        except Exception as error:
            raise AutoInitInfrastructureError("Infrastructure init failed: %s" % error) from error

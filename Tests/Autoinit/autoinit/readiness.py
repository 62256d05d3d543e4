"""Whether the infrastructure of a run ID is ready: an entry in one of Django's caches."""

from django.core.cache import caches

from autoinit import conf


def _key(run_id):
    return "%s:%s" % (conf.key_prefix(), run_id)


def is_ready(run_id):
    return caches[conf.cache_alias()].get(_key(run_id)) == 1


def set_ready(run_id):
    caches[conf.cache_alias()].set(_key(run_id), 1, timeout=conf.READINESS_SECONDS)


def clear(run_id):
    caches[conf.cache_alias()].delete(_key(run_id))

"""What a project may have as KEY_FUNCTION of a cache (FLEET_KEY_FUNCTION=fleet.keys.digest)."""

import hashlib


def digest(key, key_prefix, version):
    """Nothing of the key is left to be seen, so nobody can guess what it becomes."""
    return "%s/%s/%s" % (key_prefix, version, hashlib.sha256(str(key).encode()).hexdigest())

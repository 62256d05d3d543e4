#!/bin/sh
# Measures a release build of `supervisor` against tini and dumb-init. See README.md in this folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
command -v python3 >/dev/null || { echo "run.sh: python3 is missing: apt-get install -y python3" >&2; exit 69; }
PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1 exec python3 -m benchmark "$@"

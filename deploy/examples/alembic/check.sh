#!/usr/bin/env bash
# Starts this example under a supervisor, uses it, stops it, twice: check.sh SUPERVISOR [VENV]
#
# VENV is a virtual environment with the requirements; made in .build-try of the clone when it is not given.
set -euo pipefail
unset CDPATH

if (($# < 1 || $# > 2)) || [[ ! -x $1 ]]; then
  echo "usage: check.sh SUPERVISOR [VENV]     (the program to check with)" >&2
  exit 64
fi
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
supervisor=$(realpath -- "$1")
venv=${2-$here/../../../.build-try/alembic-venv}

pid=
data=$(mktemp -d)
cleanup() {
  if [[ -n $pid ]]; then
    kill -s TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf -- "$data"
}
trap cleanup EXIT

fail() {
  echo "check: $*" >&2
  if [[ -s $data/log ]]; then
    cat -- "$data/log" >&2
  fi
  exit 1
}

if [[ ! -x $venv/bin/uvicorn ]]; then
  python3 -m venv "$venv" >/dev/null
  "$venv/bin/python" -m pip install --disable-pip-version-check --quiet -r "$here/requirements.txt"
fi
venv=$(cd -- "$venv" && pwd)

read -r port health_port < <("$venv/bin/python" - <<'PYTHON'
import socket

with socket.socket() as first, socket.socket() as second:
    for each in (first, second):
        each.bind(("127.0.0.1", 0))
    print(first.getsockname()[1], second.getsockname()[1])
PYTHON
)

# Becomes the supervisor: for a subshell.
launch() {
  exec env --default-signal --chdir="$here" "PATH=$venv/bin:$PATH" "PORT=$port" "DATA_DIR=$data/app" \
    PYTHONDONTWRITEBYTECODE=1 "SUPERVISOR_RUN_DIR=$data/run" "SUPERVISOR_STATE_DIR=$data/state" \
    "SUPERVISOR_NODE_MARKER_DIR=$data/markers" "SUPERVISOR_HEALTH_LISTEN=127.0.0.1:$health_port" "$supervisor" run
}

fetch() {
  curl --silent --show-error --fail --noproxy '*' --max-time 10 "$@"
}

# await SECONDS WHAT COMMAND…
await() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || fail "the supervisor ended while waiting for $what"
    ((SECONDS < deadline)) || fail "no $what in time"
    sleep 0.1
  done
}

shows() {
  fetch "http://127.0.0.1:$port/" | grep -q -F -- "$1"
}

start() {
  launch >"$data/log" 2>&1 &
  pid=$!
  await 60 "/readyz" fetch "http://127.0.0.1:$health_port/readyz"
}

stop() {
  local status=0
  kill -s TERM "$pid"
  wait "$pid" || status=$?
  pid=
  # When all its requests are answered uvicorn ends itself by the signal that it got.
  ((status == 143)) || fail "TERM ended it with $status instead of 143"
  grep -q "Application shutdown complete" "$data/log" || fail "uvicorn did not come to its end"
  grep -q "worker: stopped (exit code 0)" "$data/log" || fail "the worker did not come to its end"
}

start
grep -q "cache warmed with 1 notes" "$data/log" || fail "the cache was not warmed"
shows '"warmed":["a migration wrote this note"]' || fail "the cache is not what it was warmed with"
fetch --output /dev/null --json '{"text": "hello"}' "http://127.0.0.1:$port/notes" || fail "a note is refused"
await 20 "work done by the worker" shows '"counted":2'
stop
echo "ok migrated, warmed, served, worked, stopped"

start
if grep -q -E "cache warmed|Running upgrade" "$data/log"; then
  fail "the steps of a release that was done ran again"
fi
shows '"hello"' || fail "the note is gone"
stop
echo "ok the same release goes straight to serving"

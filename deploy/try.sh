#!/usr/bin/env bash
# Runs the example site under `supervisor`, on a machine that has Swift and this clone: deploy/try.sh
#
# Installs what is missing, builds the release, then migrates, collects static files and serves
# deploy/examples/django until Ctrl-C. All that it writes goes to .build-try in the clone, which git ignores.
#
#   deploy/try.sh           stays in the foreground; Ctrl-C stops it
#   deploy/try.sh --check   no questions, no Ctrl-C: starts it, uses it, stops it, looks at what is left
#
# From the environment: PORT (the site), HEALTH_PORT (the health page), else free ports; RELEASE_ID, else the
# commit. A release's steps run once: the next start of the same RELEASE_ID goes straight to serving.
set -euo pipefail
unset CDPATH

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
example=$root/deploy/examples/django
work=$root/.build-try
venv=$work/venv
supervisor=$work/bin/supervisor

# Seconds that a start may take until /readyz says yes, and a stop until the process is gone.
ready_within=90
stopped_within=30

fail() {
  echo "try: $*" >&2
  exit 1
}

mode=foreground
case "$#:${1-}" in
  0:) ;;
  1:--check) mode=check ;;
  1:-h | 1:--help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  *)
    echo "usage: deploy/try.sh [--check]" >&2
    exit 64
    ;;
esac

# --- What it needs.

# A Python that can make a virtual environment; Debian keeps that part in a package of its own.
find_python() {
  local found
  found=$(command -v python3 || true)
  if [[ -n $found ]] && "$found" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "$found"
  else
    "$root/deploy/install-missing.sh" python3-venv
    echo /usr/bin/python3
  fi
}

# The virtual environment, made anew when the requirements changed or the clone was moved.
prepare_python() {
  local wanted log
  wanted=$(echo "$venv" && cat -- "$example/requirements.txt")
  if [[ -f $venv/made-for && $(<"$venv/made-for") == "$wanted" ]] && "$venv/bin/python" -c 'import django' 2>/dev/null; then
    return
  fi
  echo "installing with pip into ${venv#"$root/"}: $(grep -v '^#' "$example/requirements.txt" | paste -s -d ' ')"
  rm -rf -- "$venv"
  log=$(mktemp)
  if ! { "$(find_python)" -m venv "$venv" &&
    "$venv/bin/python" -m pip install --disable-pip-version-check -r "$example/requirements.txt"; } >"$log" 2>&1; then
    cat -- "$log" >&2
    rm -f -- "$log"
    fail "pip could not install the example's requirements; its output is above"
  fi
  rm -f -- "$log"
  echo "$wanted" >"$venv/made-for"
}

# Two ports of the loopback address which nobody has.
free_ports() {
  "$venv/bin/python" - <<'PYTHON'
import socket

with socket.socket() as first, socket.socket() as second:
    for each in (first, second):
        each.bind(("127.0.0.1", 0))
    print(first.getsockname()[1], second.getsockname()[1])
PYTHON
}

fetch() {
  curl --silent --show-error --fail --noproxy '*' --max-time 10 "$@"
}

# --- The supervisor: started, awaited, stopped.

pid=       # of the supervisor, while we have not seen its end
asked=     # the signal that we or the terminal sent it
ended=     # its exit status
data=      # where database, run_dir and the rest of this try are
mark=      # in the environment of everything that this try starts

# start OUTPUT: in the background, since bash would put off our own traps until a foreground child ends. It stays
# in our process group, so a terminal's Ctrl-C reaches it by itself.
start() {
  local output=${1-}
  # A shell lets its background children ignore INT and QUIT, hence --default-signal. Variables of the
  # caller that would change which settings hold are taken out.
  local command=(
    env --default-signal
    --unset=SUPERVISOR_SETTINGS --unset=SUPERVISOR_RUN_ID --unset=AUTOINIT_RUN_ID --unset=DJANGO_SETTINGS_MODULE
    "PATH=$venv/bin:$work/bin:$PATH" "TRY_MARK=$mark"
    "RELEASE_ID=$release" "PORT=$port" "DATABASE_PATH=$data/db.sqlite3" "STATIC_ROOT=$data/static"
    "SUPERVISOR_RUN_DIR=$run_dir" "SUPERVISOR_STATE_DIR=$data/state" "SUPERVISOR_NODE_MARKER_DIR=$data/markers"
    "SUPERVISOR_HEALTH_LISTEN=127.0.0.1:$health_port"
    "$supervisor" run --settings supervisor.yml -- gunicorn mysite.wsgi
  )
  asked=
  ended=
  cd -- "$example"
  if [[ -n $output ]]; then
    "${command[@]}" >"$output" 2>&1 &
  else
    "${command[@]}" &
  fi
  pid=$!
}

# pass_on SIGNAL: from us to the supervisor. It may have it from the terminal as well, and takes two at once for one.
pass_on() {
  asked=$1
  if [[ -n $pid ]]; then
    kill -s "$1" "$pid" 2>/dev/null || true
  fi
}

# Looks instead of blocking in `wait`: bash mixes up the child's status when a trap runs in the middle of that.
await_end() {
  while alive; do
    sleep 0.1 || true
  done
  ended=0
  wait "$pid" || ended=$?
  pid=
}

alive() {
  [[ -n $pid ]] && kill -0 "$pid" 2>/dev/null
}

# await_ready: 0 once /readyz says yes, 1 when the supervisor ended or was asked to, 2 at the deadline.
await_ready() {
  local deadline=$((SECONDS + ready_within))
  until fetch --output /dev/null "http://127.0.0.1:$health_port/readyz" 2>/dev/null; do
    if ! alive || [[ -n $asked ]]; then
      return 1
    fi
    if ((SECONDS >= deadline)); then
      return 2
    fi
    sleep 0.1
  done
}

cleanup() {
  if alive; then
    kill -s TERM "$pid" 2>/dev/null || true
    local deadline=$((SECONDS + stopped_within))
    while alive && ((SECONDS < deadline)); do
      sleep 0.1
    done
    if alive; then
      echo "try: the supervisor (process $pid) did not stop within $stopped_within s; killing it" >&2
      kill -s KILL "$pid" 2>/dev/null || true
    fi
  fi
  if [[ -n $run_dir && $run_dir != "$data"/* ]]; then
    rm -rf -- "${run_dir%/*}"
  fi
}

# prepare_data FOLDER: where this try keeps its files.
prepare_data() {
  data=$1
  mkdir -p -- "$data"
  run_dir=$data/run
  # The path of a Unix socket has at most 107 bytes, and a clone may lie deeper than that.
  if (($(LC_ALL=C; echo ${#run_dir}) > 85)); then
    run_dir=$(mktemp -d)/run
  fi
}

# --- The two ways to run it.

say_where() {
  cat <<TEXT

  the site      http://127.0.0.1:$port/
  health page   http://127.0.0.1:$health_port/
  its state     $(printf '%q' "$supervisor") status --run-dir $(printf '%q' "$run_dir")
  release       $release (RELEASE_ID=another deploy/try.sh makes it run its steps again)

  Ctrl-C stops it.

TEXT
}

run_in_foreground() {
  prepare_data "$work/site"
  trap 'pass_on INT' INT
  trap 'pass_on TERM' TERM
  # The terminal is gone. `run` stops by a HUP of the kernel's, but the kernel tells only us, the session's leader;
  # one that we sent would be for the app.
  trap 'pass_on TERM' HUP
  start

  local ready=0
  await_ready || ready=$?
  if ((ready != 1)); then
    ((ready == 0)) || echo "try: not ready after $ready_within s; the health page says why" >&2
    # A Ctrl-C ends whatever command of ours runs at that moment, too.
    say_where || true
  fi

  await_end
  trap '' INT TERM HUP
  if [[ -z $asked ]]; then
    fail_with "$ended" "the supervisor ended by itself, with exit status $ended; its last lines say why"
  elif ((ended == 0)); then
    echo "stopped cleanly"
  elif ((ended == 128 + $(kill -l "$asked"))) && ((ready == 1)); then
    echo "stopped before the site ran (exit status $ended)"
    exit "$ended"
  else
    fail_with "$ended" "stopped by $asked, but with exit status $ended instead of 0"
  fi
}

fail_with() {
  echo "try: $2" >&2
  exit "$(($1 == 0 ? 1 : $1))"
}

ok() {
  echo "ok $*"
}

# A check that fails shows what the supervisor and the site have said.
fail_check() {
  if [[ -s $output ]]; then
    echo "--- output of supervisor run:" >&2
    cat -- "$output" >&2
    echo "---" >&2
  fi
  fail "$*"
}

# expect FILE TEXT WHAT, expect_not FILE TEXT WHAT
expect() {
  grep -q -F -- "$2" "$1" || fail_check "$3: expected to find \"$2\""
}

expect_not() {
  ! grep -q -F -- "$2" "$1" || fail_check "$3: found \"$2\""
}

check_start() {
  local outcome=0
  await_ready || outcome=$?
  case $outcome in
    0) ok "ready: /readyz answers ($1)" ;;
    1)
      await_end
      fail_check "$1: the supervisor ended with exit status $ended before it was ready"
      ;;
    *)
      fetch_any "http://127.0.0.1:$health_port/readyz?verbose" >&2 || true
      fail_check "$1: not ready within $ready_within s"
      ;;
  esac
}

# Also when the answer is an error, since its body says why.
fetch_any() {
  curl --silent --show-error --noproxy '*' --max-time 10 "$@"
}

check_stop() {
  local deadline=$((SECONDS + stopped_within))
  pass_on INT
  while alive; do
    ((SECONDS < deadline)) || fail_check "$1: still running $stopped_within s after INT"
    sleep 0.05
  done
  await_end
  ((ended == 0)) || fail_check "$1: INT stopped it with exit status $ended instead of 0"
  ok "stopped by INT, exit status 0 ($1)"

  local left
  left=$(grep -l -a -s -F -- "TRY_MARK=$mark" /proc/[0-9]*/environ || true)
  [[ -z $left ]] || fail_check "$1: processes are left: $(processes_of "$left")"
  if fetch_any --output /dev/null "http://127.0.0.1:$port/" 2>/dev/null; then
    fail_check "$1: something still serves port $port"
  fi
  ok "no process left ($1)"
}

# The process IDs and commands behind paths like /proc/12/environ.
processes_of() {
  local path
  while IFS= read -r path; do
    path=${path%/environ}
    printf '%s (%s) ' "${path#/proc/}" "$(tr '\0' ' ' <"$path/cmdline" 2>/dev/null || true)"
  done <<<"$1"
}

run_check() {
  rm -rf -- "$work/check"
  prepare_data "$work/check"
  mark=$(basename -- "$(mktemp -u)")-$$
  local site=http://127.0.0.1:$port page=$data/page.html jar=$data/cookies sheet token
  output=$data/first.log
  # INT stays as it is: it ends this script, and cleanup ends the supervisor.
  trap 'exit 143' TERM HUP

  start "$output"
  check_start "first start"
  expect "$output" "Applying notes.0003_welcome... OK" "the output of the first start"
  expect "$output" "static file copied to" "the output of the first start"
  ok "migrated and collected static files"

  fetch --output "$page" "$site/" || fail_check "the home page does not answer"
  expect "$page" "<h1>It runs</h1>" "the home page"
  expect "$page" "$release" "the home page, which shows SUPERVISOR_RUN_ID"
  sheet=$(sed -n 's/.*rel="stylesheet" href="\([^"]*\)".*/\1/p' "$page")
  [[ $sheet == /static/pages/site.*.css ]] || fail_check "the home page names no style sheet but '$sheet'"
  fetch --output "$page" "$site$sheet" || fail_check "the style sheet $sheet does not answer"
  cmp -s -- "$page" "$example/pages/static/pages/site.css" || fail_check "$sheet is not the style sheet"
  ok "the home page and its style sheet"

  local text="A note by try.sh: ü & <b> $mark"
  fetch --output "$page" --cookie-jar "$jar" "$site/notes/new/" || fail_check "the form does not answer"
  token=$(sed -n 's/.*name="csrfmiddlewaretoken" value="\([^"]*\)".*/\1/p' "$page")
  fetch --output /dev/null --cookie "$jar" --data-urlencode "csrfmiddlewaretoken=$token" \
    --data-urlencode "text=$text" "$site/notes/new/" || fail_check "the site refuses a note"
  fetch --output "$page" "$site/notes/" || fail_check "the list of notes does not answer"
  expect "$page" "A note by try.sh: ü &amp; &lt;b&gt; $mark" "the list of notes"
  ok "a note written and read back"

  "$supervisor" status --run-dir "$run_dir" >"$page" || fail_check "\`supervisor status\` ended with $?"
  expect "$page" app "\`supervisor status\`"
  "$supervisor" health ready --run-dir "$run_dir" >/dev/null || fail_check "\`supervisor health ready\` ended with $?"
  ok "supervisor status, supervisor health ready"
  check_stop "first start"

  output=$data/second.log
  start "$output"
  check_start "second start of the same release"
  # What migrate and collectstatic print whenever they run.
  expect_not "$output" "Operations to perform" "the second start ran migrate again"
  expect_not "$output" "copied to" "the second start ran collectstatic again"
  fetch --output "$page" "$site/notes/" || fail_check "the list of notes does not answer"
  expect "$page" "$mark" "the list of notes after a restart"
  (($(grep -c "a data migration wrote this note" "$page") == 1)) || fail_check "the data migration ran more than once"
  ok "the same release does not migrate again, and its data is there"
  check_stop "second start"
}

# --- All of it.

run_dir=
trap cleanup EXIT
mkdir -p -- "$work"
"$root/deploy/install-missing.sh" curl
prepare_python
[[ $mode == check ]] || echo "building the release (about five minutes the first time)"
"$root/deploy/build.sh" "$work/bin"

read -r port health_port < <(free_ports)
port=${PORT:-$port}
health_port=${HEALTH_PORT:-$health_port}
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || true)
release=${RELEASE_ID:-${commit:-example-1}}

if [[ $mode == check ]]; then
  run_check
else
  run_in_foreground
fi

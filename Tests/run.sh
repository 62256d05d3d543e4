#!/usr/bin/env bash
# Runs everything that has to pass: Tests/run.sh
#
#   Tests/run.sh            all stages, the cheap and telling ones first
#   Tests/run.sh STAGE…     these stages only
#   Tests/run.sh --list     the stages
#
# Installs what is missing. Each stage says one line when it passes; when it fails its output follows, the other
# stages still run, and the exit status is 1. Logs are kept in .build-tests/logs. Root is not needed: tests which
# need it say that they were skipped.
set -euo pipefail
unset CDPATH

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd -- "$root"
logs=$root/.build-tests/logs
release=$root/.build-release/out

stages=(format shell imports checks release test litefs try address thread fuzz simulation)
declare -A about=(
  [format]="swift format, strictly"
  [shell]="shellcheck of every shell script"
  [imports]="the order of the modules"
  [checks]="the checks themselves, on planted mistakes; the settings' schema"
  [release]="the release build, PID 1 without shared objects"
  [test]="the tests, end to end ones against the release build"
  [litefs]="what LiteFS does, asked of the stand-in, and of LITEFS_BINARY when that names a real one"
  [try]="the example projects: started, used, stopped"
  [address]="the unit tests under the address sanitizer"
  [thread]="the unit tests under the thread sanitizer"
  [fuzz]="the fuzzers, 15 seconds each"
  [simulation]="fleets in trouble, simulated from many seeds"
)
# A stage that takes longer hangs.
stage_limit=25m

# --- The stages. Each runs in a shell of its own, with its output in a log.

stage_format() {
  swift format lint --strict --recursive Package.swift Sources Tests
}

stage_shell() {
  local file first scripts=()
  while IFS= read -r file; do
    # Deleted files are listed until that is committed.
    [[ -f $file ]] || continue
    IFS= read -r first <"$file" 2>/dev/null || true
    if [[ $file == *.sh || $first =~ ^'#!'.*[/\ ](ba)?sh($|\ ) ]]; then
      scripts+=("$file")
    fi
  done < <(git ls-files --cached --others --exclude-standard 2>/dev/null ||
    find . -path './.build*' -prune -o -path ./.git -prune -o -type f -print)
  ((${#scripts[@]} > 0)) || {
    echo "no shell script found"
    return 1
  }
  shellcheck -- "${scripts[@]}"
}

stage_imports() {
  Tests/Checks/import-graph.sh
}

stage_checks() {
  Tests/Checks/self-test.sh
  Tests/Checks/settings-schema.sh
}

stage_release() {
  deploy/build.sh "$release"
}

stage_test() {
  # Costs next to nothing when the release stage has just run.
  deploy/build.sh "$release"
  Tests/Python/environment.sh
  if [[ -c /dev/fuse ]]; then
    Tests/LiteFSStandIn/build.sh
  fi
  swift build --build-tests
  run_tests env SUPERVISOR_BINARY="$release/supervisor" swift test --skip-build --parallel
}

stage_litefs() {
  local status=0
  Tests/LiteFSStandIn/contract.sh || status=$?
  if ((status == 69)); then
    echo "skipped: nothing can be mounted here"
    return 0
  fi
  return "$status"
}

stage_try() {
  deploy/try.sh --check
  deploy/build.sh "$release"
  deploy/examples/alembic/check.sh "$release/supervisor"
}

# Only the unit tests of PID 1: the end to end ones drive the release build, which no sanitizer looks into, and the
# frameworks' run Python.
stage_address() {
  # Leaks are not looked for: Swift's own tables, never freed, would be all that is found.
  run_tests env SUPERVISOR_WITHOUT_AGENT=1 ASAN_OPTIONS=detect_leaks=0 SWIFT_BACKTRACE=enable=no \
    swift test --sanitize=address --scratch-path .build-address --skip '^FrameworksTests\.'
}

stage_thread() {
  run_tests env SUPERVISOR_WITHOUT_AGENT=1 \
    swift test --sanitize=thread --scratch-path .build-thread --skip '^FrameworksTests\.'
}

stage_fuzz() {
  if [[ -x Tests/Fuzzing/run.sh ]]; then
    Tests/Fuzzing/run.sh 15
  else
    echo "there is no Tests/Fuzzing/run.sh"
  fi
}

stage_simulation() {
  Tests/Simulation/run.sh
}

# Swift Testing calls a run of no tests passed: a filter or a build gone wrong must not look like success.
run_tests() {
  local log status=0
  log=$(mktemp)
  "$@" 2>&1 | tee -- "$log" || status=$?
  if ((status == 0)) && ! grep -q -E 'Test run with [1-9][0-9]* tests?' -- "$log"; then
    echo "error: no test has run"
    status=1
  fi
  rm -f -- "$log"
  return "$status"
}

# --- Running them.

# What the stages call, beyond Swift and what every Debian has: the linker's and the build's own needs, the tools
# that tests compare with (tini, dumb-init, catatonit) or use (procps, util-linux: unshare, setpriv; Python's
# jsonschema), and the servers that they start (PostgreSQL, PgBouncer, Redis).
install_missing() {
  deploy/install-missing.sh binutils libyaml-dev libsqlite3-dev libpq-dev shellcheck curl procps util-linux tini dumb-init catatonit \
    openssl python3-jsonschema python3-yaml postgresql pgbouncer redis-server fuse3 libfuse3-dev
}

list_stages() {
  local stage
  for stage in "${stages[@]}"; do
    printf '%-10s %s\n' "$stage" "${about[$stage]}"
  done
}

clock() {
  printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60))
}

running=  # the session of the stage under way

# Zombies do not count: they wait for a parent, or for the first process of a container that may never reap.
in_session() {
  pgrep --list-full --runstates D,I,R,S,T,t --session "$1"
}

# What a stage started ends with it, and with us. By session and not by group, since `swift test` gives the tests
# a group of their own. Processes that a test moved to another session are that test's duty.
end_session() {
  local tries
  pkill -TERM --session "$1" || return 0
  for ((tries = 0; tries < 50; tries++)); do
    in_session "$1" >/dev/null || return 0
    sleep 0.1
  done
  pkill -KILL --session "$1" || true
}

cleanup() {
  if [[ -n $running ]]; then
    end_session "$running"
  fi
}

# run_stage STAGE: its exit status. In the background, since bash would put off a trap until a foreground child
# ends; in a session of its own, for end_session; with default signals, since a shell lets background children
# ignore INT and QUIT, and tests look at just that.
run_stage() {
  local status=0
  env --default-signal setsid timeout --kill-after=10s "$stage_limit" \
    bash "$root/Tests/run.sh" --in-stage "$1" </dev/null >"$logs/$1.log" 2>&1 &
  running=$!
  wait "$running" || status=$?
  local left
  if left=$(in_session "$running" | cut -c 1-160) && [[ -n $left ]]; then
    printf 'left behind by %s, and ended now:\n%s\n' "$1" "$left"
    end_session "$running"
  fi
  running=
  return "$status"
}

# The whole log when it is short, else the lines that look like the cause, and the end. A test that fails may
# quote megabytes.
show_log() {
  if (($(wc -l <"$1") <= 300)); then
    cut -c 1-500 -- "$1"
  else
    grep -n -E '✘|error:|Fatal|Sanitizer|Test run with' -- "$1" | cut -c 1-500 | head -n 100 || true
    echo "… and the last lines of $1:"
    tail -n 60 -- "$1" | cut -c 1-500
  fi
}

case ${1-} in
  --list)
    list_stages
    exit 0
    ;;
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    list_stages
    exit 0
    ;;
  --in-stage)
    "stage_$2"
    exit 0
    ;;
esac

wanted=("$@")
if ((${#wanted[@]} == 0)); then
  wanted=("${stages[@]}")
fi
for stage in "${wanted[@]}"; do
  if [[ -z ${about[$stage]-} ]]; then
    echo "run: no stage is called '$stage'; there are: ${stages[*]}" >&2
    exit 64
  fi
done
if ! command -v swift >/dev/null; then
  echo "run: no swift in PATH; install Swift 6.1 or newer: https://www.swift.org/install" >&2
  exit 1
fi

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
install_missing
mkdir -p -- "$logs"

failed=()
summary=
for stage in "${wanted[@]}"; do
  printf '[%5s] %s: %s\n' "$(clock)" "$stage" "${about[$stage]}"
  status=0
  run_stage "$stage" || status=$?
  if ((status != 0)); then
    failed+=("$stage")
    show_log "$logs/$stage.log"
    if ((status == 124 || status == 137)); then
      echo "$stage did not end within $stage_limit"
    fi
    printf '[%5s] %s FAILED; again, alone: Tests/run.sh %s\n' "$(clock)" "$stage" "$stage"
  fi
  if [[ $stage == test ]]; then
    summary=$(grep -E 'Test run with [0-9]+ tests? ' -- "$logs/test.log" || true)
  fi
done

# The closing lines: Swift Testing's own summary of the tests, and the outcome of it all.
if [[ -n $summary ]]; then
  echo "$summary"
fi
if ((${#failed[@]})); then
  printf 'run: FAILED after %s: %s\n' "$(clock)" "${failed[*]}"
  exit 1
fi
printf 'run: passed in %s: %s\n' "$(clock)" "${wanted[*]}"

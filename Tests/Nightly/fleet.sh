#!/usr/bin/env bash
# Fleets in trouble, on real servers, for a night: Tests/Nightly/fleet.sh [ROUNDS] [SEED]
#
# A hundred rounds, if ROUNDS does not say otherwise, of `FleetChaosTests`: twenty nodes each, of which nodes, agents,
# sessions, Redis, PostgreSQL and PgBouncer are killed at random. Prints a line for each round, and at the end how many
# have passed, how long the slowest took, and the seeds of those that failed: `Tests/Nightly/fleet.sh 1 SEED` is that
# round again. The exit status is 1 when one failed. SUPERVISOR_BINARY names the program under test; without it the
# release build is made. It takes about a quarter of a minute for each round, and two cores.
set -euo pipefail
unset CDPATH

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cd -- "$root"
rounds=${1:-100}
if [[ -z ${SUPERVISOR_BINARY-} ]]; then
  deploy/build.sh "$root/.build-release/out"
  export SUPERVISOR_BINARY=$root/.build-release/out/supervisor
fi
export FLEET_ROUNDS=$rounds
if [[ -n ${2-} ]]; then
  export FLEET_SEED=$2
fi

log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
swift build --build-tests
status=0
swift test --skip-build --filter '^EndToEnd\.FleetChaosTests' 2>&1 | tee -- "$log" | grep --line-buffered '^chaos: ' || status=$?
passed=$(grep -c -E '^chaos: FLEET_SEED=[0-9]+: passed' -- "$log" || true)
slowest=$(sed -n -E 's/^chaos: .* ([0-9]+) ms all there$/\1/p' "$log" | sort -n | tail -n 1)
echo "chaos: $passed of $rounds rounds passed; the slowest was through after ${slowest:-?} ms"
sed -n -E 's/^chaos: FLEET_SEED=([0-9]+): failed.*/chaos: failed: seed \1/p' "$log"
if ((passed != rounds)); then
  # What was found wrong.
  grep -v '^chaos: ' -- "$log" | tail -n 60
  exit 1
fi
exit "$status"

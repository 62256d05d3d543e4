#!/bin/sh
# Builds the simulator and runs it: Tests/Simulation/run.sh [ARGUMENT…]; `--help` names them. Without any it does what
# CI does: many seeds, the planted bugs, the cost of large fleets.
set -eu
# The agent's libraries are not needed here.
export SUPERVISOR_WITHOUT_AGENT=1

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$root/.build-simulation

swift build --package-path "$here" --scratch-path "$build" -c release --product Simulation >&2
# What is in a dictionary comes in an order that is the same each time: a seed tells it all.
export SWIFT_DETERMINISTIC_HASHING=1
exec "$build/release/Simulation" "$@"

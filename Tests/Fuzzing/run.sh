#!/bin/sh
# Builds every fuzzer of this folder and runs each for SECONDS (default 20): Tests/Fuzzing/run.sh [SECONDS]
# Fails when one of them crashes, hangs or needs too much memory; the input that did it is kept and named.
set -eu
# The agent's libraries are not needed here.
export SUPERVISOR_WITHOUT_AGENT=1

seconds=${1:-20}
case $seconds in
  '' | *[!0-9]*) echo "usage: $0 [SECONDS]" >&2; exit 64 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$root/.build-fuzz
findings=$build/findings
mkdir -p "$findings"

swift build --package-path "$here" --scratch-path "$build" -c release \
  -Xswiftc -sanitize=fuzzer,address -Xswiftc -parse-as-library

# Swift's backtracer would disturb the sanitizer's report. The runtime keeps what it needs for ever, which the
# leak check takes for leaks.
export SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=detect_leaks=0

status=0
for source in "$here"/Sources/*Fuzzer; do
  fuzzer=$(basename "$source")
  if ! [ -x "$build/release/$fuzzer" ]; then
    echo "$fuzzer was not built: add it to $here/Package.swift" >&2
    status=1
    continue
  fi
  found=$(mktemp -d)
  echo "== $fuzzer, $seconds s"
  # New inputs go into the first folder; the corpus beside it is only read.
  if "$build/release/$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
    -print_final_stats=1 -verbosity=1 -artifact_prefix="$findings/$fuzzer-" \
    "$found" "$here/Corpus/${fuzzer%Fuzzer}" > "$findings/$fuzzer.log" 2>&1; then
    grep -E 'stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$findings/$fuzzer.log"
  else
    status=1
    tail -n 60 "$findings/$fuzzer.log"
    echo "$fuzzer failed; the input is in $findings" >&2
  fi
  rm -rf "$found"
done
exit $status

#!/usr/bin/env bash
# Builds the release program into a folder: deploy/build.sh OUT
#
# The result is OUT/supervisor: stripped, without any shared object, so that it runs in an image that holds
# nothing else. An existing one is replaced at once (rename), also while it runs. Needs Swift; the rest is
# installed when missing. Prints one line when all is well.
set -euo pipefail
unset CDPATH

usage() {
  echo "usage: deploy/build.sh OUT     (builds the release program into the folder OUT)"
}

fail() {
  echo "build: $*" >&2
  exit 1
}

case "${1-}" in
  -h | --help)
    usage
    exit 0
    ;;
esac
if (($# != 1)) || [[ -z $1 || $1 == -* ]]; then
  usage >&2
  exit 64
fi

mkdir -p -- "$1"
out=$(cd -- "$1" && pwd)
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd -- "$root"

command -v swift >/dev/null || fail "no swift in PATH; install Swift 6.1 or newer: https://www.swift.org/install"
deploy/install-missing.sh binutils libyaml-dev

log=$(mktemp)
new=
cleanup() {
  rm -f -- "$log" ${new:+"$new"}
}
trap cleanup EXIT

# A static glibc makes the linker warn of every dlopen, getpwnam and the like in Swift's own libraries. Those
# are known and not called. The same warning about an object of ours is a mistake, and passes this filter.
without_known_warnings() {
  grep -v -E "^[^ ]*/swift_static/.*: warning: (Using '.*' in statically linked applications|the use of .mktemp' )"
}

build=(swift build -c release --product supervisor -Xswiftc -static-executable --scratch-path .build-release)
if ! "${build[@]}" >"$log" 2>&1; then
  without_known_warnings <"$log" >&2 || true
  fail "the release build failed; its output is above"
fi
# What is left is worth reading, with the lines of source under it, but without the progress in between.
without_known_warnings <"$log" | grep --no-group-separator -A 4 -E 'warning:' |
  grep -v -E '^(\[[0-9]+/[0-9]+\]|Build|Fetch|Comput|Creat|Work)' >&2 || true

built=$("${build[@]}" --show-bin-path 2>/dev/null)/supervisor
[[ -f $built ]] || fail "the build ended well but left no $built"

new=$(mktemp -- "$out/.supervisor.XXXXXX")
strip -o "$new" -- "$built"
chmod 755 -- "$new"
Tests/Checks/static-binary.sh "$new"
version=$("$new" --version) || fail "the new program does not run: \`supervisor --version\` ended with $?"
version=${version%%$'\n'*}
size=$(stat -c %s -- "$new")
mv -f -- "$new" "$out/supervisor"
new=
echo "$out/supervisor: $((size / 100000 / 10)).$((size / 100000 % 10)) MB, ${version:-no version given}"

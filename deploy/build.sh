#!/usr/bin/env bash
# Builds the release programs into a folder: deploy/build.sh OUT
#
# The results are OUT/supervisor: stripped, without any shared object, so that it runs in an image that holds
# nothing else; and OUT/supervisor-agent, which it starts only when something in the settings needs it: stripped,
# with Swift's libraries in it, and in need of those of C that the last line names. Existing ones are replaced at
# once (rename), also while they run. Needs Swift; the rest is installed when missing. Prints one line for each when
# all is well.
set -euo pipefail
unset CDPATH

usage() {
  echo "usage: deploy/build.sh OUT     (builds the release programs into the folder OUT)"
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
deploy/install-missing.sh binutils libyaml-dev libsqlite3-dev libpq-dev

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

# build PRODUCT OPTION…: the path of the program that was built, in $built.
build() {
  local product=$1
  shift
  local command=(swift build -c release --product "$product" "$@")
  if ! "${command[@]}" >"$log" 2>&1; then
    without_known_warnings <"$log" >&2 || true
    fail "the release build of $product failed; its output is above"
  fi
  # What is left is worth reading, with the lines of source under it, but without the progress in between.
  without_known_warnings <"$log" | grep --no-group-separator -A 4 -E 'warning:' |
    grep -v -E '^(\[[0-9]+/[0-9]+\]|Build|Fetch|Comput|Creat|Work)' >&2 || true
  built=$("${command[@]}" --show-bin-path 2>/dev/null)/$product
  [[ -f $built ]] || fail "the build ended well but left no $built"
}

# install_as NAME: the program in $built, stripped, into place; $said is what it says of its version.
install_as() {
  new=$(mktemp -- "$out/.$1.XXXXXX")
  strip -o "$new" -- "$built"
  chmod 755 -- "$new"
  if [[ $1 == supervisor ]]; then
    Tests/Checks/static-binary.sh "$new"
  fi
  version=$("$new" --version) || fail "the new program does not run: \`$1 --version\` ended with $?"
  version=${version%%$'\n'*}
  size=$(stat -c %s -- "$new")
  mv -f -- "$new" "$out/$1"
  new=
  said="$out/$1: $((size / 100000 / 10)).$((size / 100000 % 10)) MB, ${version:-no version given}"
}

# Each has a folder of its own: with other options the compiler would begin anew each time.
build supervisor -Xswiftc -static-executable --scratch-path .build-release
install_as supervisor
echo "$said"
build supervisor-agent --static-swift-stdlib --scratch-path .build-release-agent
install_as supervisor-agent
# Which libraries it loads is for whoever puts it into an image.
libraries=$(LC_ALL=C readelf --wide --dynamic -- "$out/supervisor-agent" |
  sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | paste -s -d ' ')
echo "$said; needs $libraries"

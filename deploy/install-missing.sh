#!/usr/bin/env bash
# Installs those of the named Debian packages which are not there yet: deploy/install-missing.sh PACKAGE…
# Says what it installs, and nothing when all are there. Works as root or through sudo; without either it
# prints the command to run and fails.
set -euo pipefail

if ! command -v dpkg-query >/dev/null; then
  echo "install-missing: this is no Debian system; make sure that the likes of these are there: $*" >&2
  exit 0
fi

missing=()
for package in "$@"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  if [[ $state != installed ]]; then
    missing+=("$package")
  fi
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  # sudo may ask for a password only where somebody can answer.
  if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
    as_root=(sudo)
  else
    echo "install-missing: not root, and no sudo to become root; please run this first:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 1
  fi
fi

log=$(mktemp)
trap 'rm -f -- "$log"' EXIT

apt_get() {
  # Another apt may be at work on this machine: wait for it rather than fail.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -y -q -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1
}

echo "installing with apt: ${missing[*]}" >&2
# The package lists of a fresh image are empty or stale, those of a used machine mostly good enough: ask for
# new ones only when the first try fails.
if ! apt_get install --no-install-recommends "${missing[@]}"; then
  if ! { apt_get update && apt_get install --no-install-recommends "${missing[@]}"; }; then
    cat -- "$log" >&2
    echo "install-missing: apt-get could not install ${missing[*]}; its output is above" >&2
    exit 1
  fi
fi

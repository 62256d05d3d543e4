#!/usr/bin/env bash
# Makes the Pythons that tests of the Django support run on: Tests/Python/environment.sh
#
# A virtual environment with Django 5.2, another one with gunicorn and celery beside it (`services`), one with what a
# project on PostgreSQL and Redis has and what django-autoinit needs (`fleet`), and one with the newest Django that pip
# resolves for each interpreter from 3.8 to 3.14 that is found: by its name in PATH, in PYTHONS (a list of programs
# separated by ':'), or installed beside the python3 of PATH. They lie in .build-tests/python, shared by all runs, and
# are made once.
# Prints a line for each environment (name, interpreter, versions) and one for each interpreter that is not there; the
# environments are also listed in .build-tests/python/environments, which the tests read.
set -euo pipefail
unset CDPATH

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
folder=$root/.build-tests/python
mkdir -p -- "$folder"

# Several stages may come here at the same time.
exec 9>"$folder/lock"
flock 9

# version_of PROGRAM: 3.11 of one that runs and can make environments, else nothing.
version_of() {
  "$1" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null || true
}

declare -A programs=()

take() {
  local version
  [[ -x $1 ]] || return 0
  version=$(version_of "$1")
  if [[ $version =~ ^3\.([89]|1[0-4])$ && -z ${programs[$version]-} ]]; then
    programs[$version]=$1
  fi
}

find_programs() {
  local each prefix
  IFS=: read -r -a given <<<"${PYTHONS-}"
  for each in "${given[@]}"; do
    take "$each"
  done
  for each in python3 python3.{8,9,10,11,12,13,14}; do
    each=$(command -v "$each" || true)
    [[ -z $each ]] || take "$each"
  done
  prefix=$(python3 -c 'import sys; print(sys.base_prefix)' 2>/dev/null || true)
  if [[ $prefix == */*/* && $prefix != /usr* ]]; then
    for each in "${prefix%/*}"/*/bin/python3; do
      take "$each"
    done
  fi
  if ((${#programs[@]} == 0)); then
    "$root/deploy/install-missing.sh" python3-venv
    take /usr/bin/python3
  fi
}

# make NAME PROGRAM REQUIREMENT...
make() {
  local place=$folder/$1 log requirements=("${@:3}")
  local wanted="$2 ${requirements[*]} $place"
  if [[ ! -f $place/made-for || $(<"$place/made-for") != "$wanted" ]] ||
    ! "$place/bin/python" -c 'import django' 2>/dev/null; then
    rm -rf -- "$place"
    log=$(mktemp)
    if ! { "$2" -m venv "$place" &&
      "$place/bin/python" -m pip install --disable-pip-version-check --quiet "${requirements[@]}"; } >"$log" 2>&1 </dev/null; then
      cat -- "$log" >&2
      rm -f -- "$log"
      echo "environment: pip could not install ${requirements[*]} for $2; its output is above" >&2
      return 1
    fi
    rm -f -- "$log"
    echo "$wanted" >"$place/made-for"
  fi
  local versions
  versions=$("$place/bin/python" -c 'import sys, django; print("%d.%d.%d" % sys.version_info[:3], django.get_version())')
  echo "$1 $place/bin/python $versions"
}

find_programs
first=
for version in 3.11 3.12 3.10 3.13 3.14; do
  if [[ -n ${programs[$version]-} ]]; then
    first=${programs[$version]}
    break
  fi
done
if [[ -z $first ]]; then
  echo "environment: Django 5.2 needs Python 3.10 or newer, and none was found" >&2
  exit 1
fi

new=$(mktemp -- "$folder/.environments.XXXXXX")
trap 'rm -f -- "$new"' EXIT
make django-5.2 "$first" 'Django~=5.2.0' | tee -- "$new"
for version in 3.8 3.9 3.10 3.11 3.12 3.13 3.14; do
  if [[ -n ${programs[$version]-} ]]; then
    make "python-$version" "${programs[$version]}" Django | tee -a -- "$new"
  else
    echo "skipped: Python $version was not found"
  fi
done
make services "$first" 'Django~=5.2.0' gunicorn celery | tee -a -- "$new"
make fleet "$first" 'Django~=5.2.0' 'psycopg[binary]~=3.2' 'django-pglock~=1.8' 'filelock>=3.13' 'redis>=5' gunicorn |
  tee -a -- "$new"
mv -- "$new" "$folder/environments"

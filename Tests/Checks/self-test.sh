#!/usr/bin/env bash
# Tests the checks of this folder: plants one violation at a time in a copy and expects the check to find it.
# A check that can no longer fail is worse than none.
set -euo pipefail
unset CDPATH

checks=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$checks/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
failures=0

complain() {
  echo "self-test: $*" >&2
  failures=$((failures + 1))
}

# expect_pass WHAT COMMAND…
expect_pass() {
  local what=$1 output
  shift
  if ! output=$("$@" 2>&1); then
    complain "$what: expected to pass, but it says: $output"
  fi
}

# expect_finding WHAT TEXT COMMAND…: the command fails, and TEXT is part of what it says.
expect_finding() {
  local what=$1 text=$2 output
  shift 2
  if output=$("$@" 2>&1); then
    complain "$what: expected a finding, but the check passes"
  elif [[ $output != *"$text"* ]]; then
    complain "$what: expected a finding with the text '$text', got: $output"
  fi
}

# --- import-graph.sh: a copy of the real sources, and one planted line at a time.

cp -R -- "$root/Sources" "$work/Sources"

# plant FILE LINE TEXT: a new file under Sources with LINE as its second line must give TEXT.
plant() {
  local file=$work/Sources/$1
  local folder=${file%/*} made=
  if [[ ! -d $folder ]]; then
    mkdir -p -- "$folder"
    made=$folder
  fi
  printf '// Planted.\n%s\nlet planted = 1\n' "$2" >"$file"
  if [[ -n $3 ]]; then
    expect_finding "'$2' in $1" "$3" "$checks/import-graph.sh" "$work"
  else
    expect_pass "'$2' in $1" "$checks/import-graph.sh" "$work"
  fi
  rm -- "$file"
  if [[ -n $made ]]; then
    rmdir -p --ignore-fail-on-non-empty -- "$made"
  fi
}

expect_pass "the sources as they are" "$checks/import-graph.sh" "$work"

plant EventLoop/Planted.swift 'import Settings' 'EventLoop/Planted.swift:2: EventLoop imports Settings, which is not below it'
plant Settings/Planted.swift 'import Journal' 'not below it'
plant Checks/Deep/Planted.swift 'import Lifecycle' 'Checks/Deep/Planted.swift:2: Checks imports Lifecycle'
plant Phases/Planted.swift '@testable import Commands' 'not below it'
plant Phases/Planted.swift '@_spi(Internal) public import Commands' 'not below it'
plant Phases/Planted.swift 'internal import struct Commands.Run' 'not below it'
plant Phases/Planted.swift 'import EventLoop; import Commands' 'Phases imports Commands'
plant Phases/Planted.swift '#if os(Linux)
  import Commands
#endif' 'Planted.swift:3: Phases imports Commands'
plant Phases/Planted.swift '/* why
*/ import Commands  // because' 'Planted.swift:3: Phases imports Commands'
plant CLinux/Planted.swift 'import CYAML' 'not below it'
plant Control/Planted.swift 'import Foundation' 'part of the daemon and imports Foundation'
plant Control/Planted.swift 'import FoundationEssentials' 'part of the daemon'
plant Commands/Planted.swift 'import class Foundation.Process' 'part of the daemon'
plant supervisor/Planted.swift 'import Dispatch' 'part of the daemon'
plant AgentProtocol/Planted.swift 'import NIOCore' 'part of the daemon'
plant AgentSupervision/Planted.swift 'import NIOPosix' 'part of the daemon'
plant AgentSupervision/Planted.swift 'import ProbeDriver' 'which only the agent may use'
plant Commands/Planted.swift 'import Agent' 'which only the agent may use'
plant Lifecycle/Planted.swift 'import PostgreSQLDriver' 'which only the agent may use'
plant Drivers/Redis/Planted.swift 'import PostgreSQLDriver' 'not below it'
plant Processes/Planted.swift 'import ArgumentParser' 'only supervisor,Commands may use'
plant Processes/Planted.swift 'import Musl' 'does not know'
plant Surprise/Planted.swift 'import EventLoop' 'does not know the module Surprise'

plant Drivers/Redis/Planted.swift 'import NIOCore' ''
plant Commands/Planted.swift 'import ArgumentParser' ''
plant Agent/Planted.swift 'import NIOSSL; import ProbeDriver' ''
plant Phases/Planted.swift '// import Commands' ''
plant Phases/Planted.swift '/* no code:
import Commands
*/' ''
plant Phases/Planted.swift '/// A quote mark: """
import Commands' 'Planted.swift:3: Phases imports Commands'
plant Phases/Planted.swift 'let text = """
import Commands
"""' ''
plant Phases/Planted.swift 'import EventLoop
import Glibc' ''
expect_pass "the sources after all that" "$checks/import-graph.sh" "$work"

mkdir -p -- "$work/empty/Sources"
expect_finding "a tree without sources" 'no Swift file' "$checks/import-graph.sh" "$work/empty"

# --- static-binary.sh: programs and libraries made for it.

compiler=
for candidate in clang cc gcc; do
  if command -v "$candidate" >/dev/null; then
    compiler=$candidate
    break
  fi
done
if [[ -z $compiler ]]; then
  echo "self-test: no C compiler (clang comes with Swift) to make programs for static-binary.sh" >&2
  exit 1
fi
echo 'int main(void) { return 0; }' >"$work/main.c"
echo 'int planted(void) { return 0; }' >"$work/library.c"

"$compiler" -static -o "$work/static" "$work/main.c"
"$compiler" -o "$work/dynamic" "$work/main.c"
# Needs a library though nothing names an interpreter.
"$compiler" -shared -fPIC -Wl,--no-as-needed -o "$work/library.so" "$work/library.c" -lm
# Has a dynamic section as static position-independent programs do, and it asks for nothing.
"$compiler" -shared -fPIC -nostdlib -o "$work/self-contained.so" "$work/library.c"
# Asks for an interpreter though no library is needed.
"$compiler" -fPIE -pie -nostdlib -Wl,-e,main -Wl,--dynamic-linker=/lib/planted.so -o "$work/interpreted" "$work/main.c"
"$compiler" -shared -fPIC -nostdlib -Wl,-rpath,/planted -o "$work/search-path.so" "$work/library.c"

expect_pass "a static program" "$checks/static-binary.sh" "$work/static"
expect_pass "a library that needs nothing" "$checks/static-binary.sh" "$work/self-contained.so"
expect_finding "a dynamic program" 'interpreter' "$checks/static-binary.sh" "$work/dynamic"
expect_finding "a dynamic program" 'libc.so' "$checks/static-binary.sh" "$work/dynamic"
expect_finding "a library that needs another" 'libm.so' "$checks/static-binary.sh" "$work/library.so"
expect_finding "an interpreter without libraries" '/lib/planted.so' "$checks/static-binary.sh" "$work/interpreted"
expect_finding "a search path" '/planted' "$checks/static-binary.sh" "$work/search-path.so"
expect_finding "a file that is no program" 'cannot be read' "$checks/static-binary.sh" "$work/main.c"
expect_finding "no file" 'cannot be read' "$checks/static-binary.sh" "$work/absent"

# --- settings-schema.sh: copies of the schema with what it is for taken out.

schema=$root/Config/supervisor.schema.json
# alter SED TEXT: with this edit of the schema, the check must say TEXT.
alter() {
  sed -e "$1" "$schema" >"$work/schema.json"
  if cmp -s -- "$schema" "$work/schema.json"; then
    complain "the edit '$1' changes nothing in the schema"
  fi
  expect_finding "the schema after '$1'" "$2" "$checks/settings-schema.sh" "$work/schema.json"
}

expect_pass "the schema" "$checks/settings-schema.sh"
alter 's/"additionalProperties": false/"additionalProperties": true/' 'typing-errors.yml is accepted'
alter 's/"const": "unlimited"/"const": "endless"/' 'everything.yml is refused: $.app.limits'
alter 's/"maximum": 64/"maximum": 1/' 'graph.yml is refused: $.infrastructure.parallelism'
alter 's/"type": "integer"/"type": "whole"/' 'SchemaError'

if ((failures)); then
  echo "self-test: $failures of the expectations above failed" >&2
  exit 1
fi

#!/usr/bin/env bash
# Fails when a source file imports against the order of the modules: Tests/Checks/import-graph.sh [ROOT]
#
# A module may import only modules of a later row of the table below. What becomes part of the daemon may also
# not import Foundation, Dispatch or NIO: PID 1 has one thread and must stay small. A module that the table does
# not know is a finding too, so that every new one gets its place here.
set -euo pipefail
unset CDPATH

root=${1:-$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)}
cd -- "$root/Sources"

# From the top down, a row a line: modules of one row do not import each other. A module is the folder of its name
# under Sources; a driver is Sources/Drivers/NAME, and its module is called NAMEDriver.
order='
supervisor supervisor-agent
Commands Agent
Lifecycle
Frameworks
Phases
LiteFS
Coordination
Control
Checks
AgentSupervision
Processes
Journal
Settings
PostgreSQLDriver RedisDriver LiteFSDriver ProbeDriver
Forward
Blocking
AgentProtocol ReleaseRecords
EventLoop
CLinux CYAML CPostgreSQL CSQLite
'
# Linked by the agent alone: these may use SwiftNIO and Foundation, and nothing of the daemon may import them.
agent_only='supervisor-agent Agent PostgreSQLDriver RedisDriver LiteFSDriver ProbeDriver Forward Blocking CPostgreSQL CSQLite'
# Part of Swift or of the C library: free for all. And the packages, each with the modules that may use it.
system='Swift Glibc Synchronization'
packages='ArgumentParser:supervisor,Commands'

list=$(mktemp)
trap 'rm -f -- "$list"' EXIT
find . -name '*.swift' -type f -print | LC_ALL=C sort >"$list"
if [[ ! -s $list ]]; then
  echo "import-graph: no Swift file under $root/Sources" >&2
  exit 1
fi

awk -v order="$order" -v agent_only="$agent_only" -v system_modules="$system" -v packages="$packages" '
  function report(text) {
    printf "Sources/%s:%d: %s\n", file, line_number, text | "cat >&2"
    findings++
  }

  # The module that a file belongs to, by its folder.
  function owner_of(path,    parts) {
    split(path, parts, "/")
    return parts[1] == "Drivers" ? parts[2] "Driver" : parts[1]
  }

  function judge(imported,    allowed) {
    if (imported == owner || imported in is_system) return
    if (imported in users) {
      allowed = "," users[imported] ","
      if (!index(allowed, "," owner ",")) report(owner " imports " imported ", which only " users[imported] " may use")
    } else if (imported ~ /^(Foundation|_Foundation|Dispatch$|NIO|_NIO)/) {
      if (!(owner in is_agent)) report(owner " is part of the daemon and imports " imported)
    } else if (!(imported in row)) {
      report(owner " imports " imported ", which the table in Tests/Checks/import-graph.sh does not know")
    } else if ((imported in is_agent) && !(owner in is_agent)) {
      report(owner " is part of the daemon and imports " imported ", which only the agent may use")
    } else if (row[imported] <= row[owner]) {
      report(owner " imports " imported ", which is not below it")
    }
  }

  # One statement, its attributes and access level taken off: judge it when it is an import.
  function read_statement(text,    words, count) {
    gsub(/^[ \t]+|[ \t]+$/, "", text)
    while (sub(/^@[A-Za-z_]+(\([^)]*\))?[ \t]+/, "", text) ||
      sub(/^(public|package|internal|fileprivate|private)[ \t]+/, "", text)) { }
    if (text !~ /^import[ \t]/) return
    count = split(text, words, /[ \t]+/)
    if (words[2] ~ /^(struct|class|enum|protocol|typealias|func|let|var|actor|macro)$/ && count > 2) words[2] = words[3]
    sub(/\..*/, "", words[2])
    gsub(/`/, "", words[2])
    judge(words[2])
  }

  function read_file(    line, statements, count, i, in_comment, in_string) {
    line_number = 0
    while ((getline line < file) > 0) {
      line_number++
      if (in_comment) {
        if (!sub(/^.*\*\//, "", line)) continue
        in_comment = 0
      }
      # Text between triple quotes is no code. One line may open and close it.
      if (in_string) {
        if (index(line, "\"\"\"")) in_string = 0
        continue
      }
      if (line ~ /^[ \t]*\/\//) continue
      if (gsub(/"""/, "&", line) % 2) { in_string = 1; continue }
      gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, " ", line)
      sub(/\/\/.*/, "", line)
      if (line !~ /"/ && match(line, /\/\*/)) { line = substr(line, 1, RSTART - 1); in_comment = 1 }
      count = split(line, statements, ";")
      for (i = 1; i <= count; i++) read_statement(statements[i])
    }
    close(file)
  }

  BEGIN {
    rows = split(order, lines, "\n")
    for (i = 1; i <= rows; i++) {
      names = split(lines[i], in_row, " ")
      for (j = 1; j <= names; j++) row[in_row[j]] = i
    }
    count = split(agent_only, list, " ")
    for (i = 1; i <= count; i++) is_agent[list[i]] = 1
    count = split(system_modules, list, " ")
    for (i = 1; i <= count; i++) is_system[list[i]] = 1
    count = split(packages, list, " ")
    for (i = 1; i <= count; i++) { split(list[i], pair, ":"); users[pair[1]] = pair[2] }
  }

  {
    file = substr($0, 3)
    owner = owner_of(file)
    if (owner in row) {
      read_file()
    } else if (!(owner in unknown)) {
      unknown[owner] = 1
      line_number = 1
      report("the table in Tests/Checks/import-graph.sh does not know the module " owner)
    }
  }

  END {
    close("cat >&2")
    exit findings ? 1 : 0
  }
' "$list"

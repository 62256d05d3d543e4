#!/usr/bin/env bash
# What LiteFS does, as far as a supervisor relies on it: Tests/LiteFSStandIn/contract.sh
#
# Runs the assertions against the stand-in (built when needed) and, when LITEFS_BINARY names a real LiteFS v0.5.14,
# against that one too: the real one is the judge. CONTRACT_ONLY=real leaves the stand-in out. One line for each
# assertion; a failed one is explained, and the exit status is then 1. On loopback, on free ports, in a directory of
# its own. Needs root, /dev/fuse, fusermount3, and the programs curl, python3 (3.11) and unshare.
set -uo pipefail
unset CDPATH

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
for program in curl python3 fusermount3 unshare; do
  command -v "$program" >/dev/null || {
    echo "contract: no $program in PATH" >&2
    exit 69
  }
done
if ((EUID != 0)) || [[ ! -c /dev/fuse ]]; then
  echo "contract: needs root and /dev/fuse" >&2
  exit 69
fi
standin=$("$here/build.sh") || exit 69
lease_server=${standin%/*}/lease-server

work=$(mktemp -d)
declare -A pid=()
number=0
failures=0

mounted() { grep -q -F " $1 fuse" /proc/mounts; }

cleanup() {
  local process mount
  for process in "${pid[@]}"; do
    kill -KILL "$process" 2>/dev/null && wait "$process" 2>/dev/null
  done
  while read -r _ mount _; do
    [[ $mount != "$work"/* ]] || fusermount3 -uz "$mount"
  done </proc/mounts
  rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
# What is killed here was meant to be.
exec 2> >(sed -u '/: line [0-9]*: *[0-9]* Killed  /d' >&2)

# --- Assertions.

# says TEXT STATUS [EXPECTED GOT]
says() {
  number=$((number + 1))
  if (($2 == 0)); then
    printf '%3d ok    %s: %s\n' "$number" "$subject" "$1"
    return
  fi
  failures=$((failures + 1))
  printf '%3d WRONG %s: %s\n' "$number" "$subject" "$1"
  [[ -z ${3-} ]] || printf '      expected: %s\n' "$3"
  [[ -z ${4-} ]] || printf '      got:      %s\n' "$4"
}

# is TEXT EXPECTED GOT · like TEXT PATTERN GOT · holds TEXT COMMAND… · within SECONDS TEXT COMMAND…
is() {
  [[ $2 == "$3" ]]
  says "$1" $? "$2" "$3"
}
# same TEXT ONE OTHER: equal, and not just both missing.
same() {
  [[ -n $2 && $2 == "$3" ]]
  says "$1" $? "$2" "$3"
}
like() {
  [[ $3 =~ $2 ]]
  says "$1" $? "/$2/" "$3"
}
holds() {
  local text=$1
  shift
  "$@" >/dev/null 2>&1
  says "$text" $? "true: $*" "false"
}
soon() {
  local deadline=$((${EPOCHREALTIME/./} + $1 * 1000000))
  shift
  until "$@" >/dev/null 2>&1; do
    ((${EPOCHREALTIME/./} < deadline)) || return 1
    sleep 0.02
  done
}
within() {
  local seconds=$1 text=$2
  shift 2
  soon "$seconds" "$@"
  says "$text" $? "true within $seconds s: $*" "false"
}
not() { ! "$@"; }

# --- Nodes. Each has a directory $work/NAME with mnt, data, litefs.yml, out, err.

# Below those that the kernel gives to whoever connects: nobody else must take them meanwhile.
free_ports() {
  python3 - "$1" <<'PYTHON'
import random, socket, sys
found = []
while len(found) < int(sys.argv[1]):
    port = random.randrange(20000, 32000)
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            continue
    if port not in found: found.append(port)
print(*found)
PYTHON
}

# node NAME PORT LEASE-LINES…: writes its litefs.yml
node() {
  local name=$1 port=$2
  shift 2
  mkdir -p "$work/$name"
  {
    printf 'fuse: {dir: "%s"}\ndata: {dir: "%s"}\n' "$work/$name/mnt" "$work/$name/data"
    printf 'http: {addr: "127.0.0.1:%s"}\nlease:\n' "$port"
    printf '  %s\n' "$@"
  } >"$work/$name/litefs.yml"
}
static_node() { # NAME PORT CANDIDATE PRIMARY-PORT
  node "$1" "$2" "type: static" "hostname: node1" "candidate: $3" "advertise-url: http://127.0.0.1:$4"
}
consul_node() { # NAME PORT CANDIDATE URL
  node "$1" "$2" "type: consul" "hostname: $1" "candidate: $3" "advertise-url: http://127.0.0.1:$2" \
    "consul: {url: \"$4\", key: lfs/primary, ttl: 3s, lock-delay: 200ms}"
}

start() { # NAME [ARGUMENT…]
  local name=$1
  shift
  mkdir -p "$work/$name/orders"
  # Here and not by the child: what an earlier one wrote must be gone when this returns.
  : >"$work/$name/out"
  : >"$work/$name/err"
  LITEFS_STANDIN_ORDERS=$work/$name/orders PATH=${path-$PATH} "$litefs" mount -config "$work/$name/litefs.yml" -no-expand-env "$@" \
    >>"$work/$name/out" 2>>"$work/$name/err" &
  pid[$name]=$!
}
logged() { grep -q -E -- "$2" "$work/$1/err"; }
ready() { logged "$1" 'connected to cluster, ready'; }
start_ready() {
  start "$@"
  soon 5 ready "$1"
}
alive() { [[ -n ${pid[$1]-} ]] && kill -0 "${pid[$1]}" 2>/dev/null; }
# ended NAME: its exit status, in $status, within 5 s; none, and it is killed, when it lives on
ended() {
  soon "${2-5}" not alive "$1" || {
    status=none
    kill -KILL "${pid[$1]}"
    wait "${pid[$1]}"
    unset "pid[$1]"
    return
  }
  wait "${pid[$1]}"
  status=$?
  unset "pid[$1]"
}
stop() { # NAME [SIGNAL]
  kill "-${2-TERM}" "${pid[$1]}"
  ended "$1"
}
error_of() { grep '^ERROR' "$work/$1/err"; }
# refused CONFIG-TEXT: $status and $said of a mount that must not start
refused() {
  printf '%s' "$1" >"$work/refused.yml"
  said=$(timeout 5 "$litefs" mount -config "$work/refused.yml" 2>&1 >/dev/null)
  status=$?
}
api() { # PORT PATH [CURL-OPTION…]
  local url=http://127.0.0.1:$1$2
  shift 2
  curl -s --max-time 3 "$@" "$url"
}
code() { api "$@" -o /dev/null -w '%{http_code}'; }
field() { # PORT FIELD: of /info
  api "$1" /info | python3 -c "import json, sys; i = json.load(sys.stdin); print($2)"
}
# sql FILE STATEMENT…: rows, or SQLite's extended error code
sql() {
  python3 - "$@" <<'PYTHON'
import sqlite3, sys
try:
    db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=2)
    for statement in sys.argv[2:]:
        rows = db.execute(statement).fetchall()
    print(*[" ".join(map(str, row)) for row in rows], sep="\n")
except sqlite3.Error as error:
    print("error", error.sqlite_errorcode, error)
PYTHON
}
# failing CODE: what Python says of a system call: its errno's name
# (statvfs and not stat on a mount: the kernel may remember the root for a minute after the server is dead.)
failing() {
  python3 -c "
import errno, os, sys
try:
    $1
    print('fine')
except OSError as error:
    print(errno.errorcode[error.errno])"
}
same_positions() { cmp -s "$work/$1/mnt/$3-pos" "$work/$2/mnt/$3-pos"; }
primary_is() { [[ $(field "$1" 'i["isPrimary"]') == True ]]; }
somebody_is_primary() { primary_is "$one" || primary_is "$two"; }
both_are_primary() { primary_is "$one" && primary_is "$two"; }
hostname_is() { [[ $(field "$1" 'i["primary"]["hostname"]') == "$2" ]]; }

# --- The parts.

command_line() {
  like "version names version and commit" '^LiteFS v0\.5\.14, commit=[0-9a-f]{40}$' "$("$litefs" version)"
  "$litefs" >/dev/null 2>&1
  is "no arguments: exit 2" 2 $?
  said=$("$litefs" foo 2>&1)
  is "unknown command: exit 1" "1 ERROR: litefs foo: unknown command" "$? $said"
  said=$("$litefs" mount -nope 2>&1 >/dev/null)
  like "unknown flag: exit 2" '^2 .*flag provided but not defined: -nope' "$? ${said//$'\n'/ }"
  said=$("$litefs" mount -config "$work/none.yml" 2>&1)
  is "no such file: exit 2" "2 ERROR: open $work/none.yml: no such file or directory" "$? $said"
  refused $'fuse: {dir: /a}\n  bad\n'
  like "YAML syntax: exit 2" '^2 ERROR: yaml: line [0-9]+: ' "$status $said"
  refused ''
  is "empty file: exit 2" "2 ERROR: EOF" "$status $said"
  refused $'fuse:\n  dirr: /a\n'
  is "unknown key: exit 2" $'2 ERROR: yaml: unmarshal errors:\n  line 2: field dirr not found in type main.FUSEConfig' "$status $said"
  refused $'fuse:\n  dir: /a\n  dir: /b\n'
  is "key twice: exit 2" $'2 ERROR: yaml: unmarshal errors:\n  line 3: mapping key "dir" already defined at line 2' "$status $said"
  refused $'lease:\n  reconnect-delay: 10\n'
  is "bare number as a duration: exit 2" $'2 ERROR: yaml: unmarshal errors:\n  line 2: cannot unmarshal !!int `10` into time.Duration' "$status $said"
  refused $'data:\n  retention: 10parsecs\n'
  is "bad duration: exit 2" $'2 ERROR: yaml: unmarshal errors:\n  line 2: cannot unmarshal !!str `10parsecs` into time.Duration' "$status $said"
  refused $'lease:\n  candidate: "true"\n'
  is "quoted boolean: exit 2" $'2 ERROR: yaml: unmarshal errors:\n  line 2: cannot unmarshal !!str `true` into bool' "$status $said"
  refused $'exit-on-error: yes\nskip-sync: no\nstrict-verify: false\nexec: [{cmd: a, if-candidate: true}]
data: {dir: /d, compress: true, retention: 1h30m, retention-monitor-interval: "0s"}
fuse: {dir: /f, allow-other: false, debug: false}\nhttp: {addr: ":1", snapshot-timeout: 300ms}
proxy: {addr: ":2", target: "t:1", db: d, max-lag: 1s, debug: false, passthrough: ["*.js"], always-forward: ["/a*"],
  primary-redirect-timeout: 5s, read-timeout: 1s, write-timeout: 1s, read-header-timeout: 1s, idle-timeout: 1s}
lease: {type: none, hostname: h, advertise-url: u, candidate: true, promote: false, reconnect-delay: 1s,
  demote-delay: 1s, databases: [], consul: {url: u, key: k, ttl: 10s, lock-delay: 1s}}
backup: {type: file, path: p, url: u, cluster: c, auth-token: t}\nlog: {format: text, timestamp: false, debug: false}
tracing: {enabled: true, path: p, max-size: 1, max-count: 1, compress: true}\n'
  is "every key is known; the lease's type is checked" \
    $'2 trace log enabled: p\nERROR: invalid lease type, must be either \'consul\' or \'static\', got: \'none\'' "$status $said"
  refused $'fuse: {dir: ""}\nlease: {type: static}\n'
  is "no fuse directory: exit 2" "2 ERROR: fuse directory required" "$status $said"
  refused $'fuse: {dir: /a}\ndata: {dir: /a}\nlease: {type: static}\n'
  is "mount = data: exit 2" "2 ERROR: fuse directory and data directory cannot be the same path" "$status $said"
  refused $'lease: {type: static, databases: [a]}\n'
  is "candidate with a filter: exit 2" "2 ERROR: cannot specify a database replication filter on candidate nodes" "$status $said"
}

failing_starts() {
  local port holder
  read -r port holder < <(free_ports 2)
  python3 -c "import socket, time; s = socket.create_server(('127.0.0.1', $holder)); print(flush=True); time.sleep(60)" >"$work/held" &
  pid[holder]=$!
  soon 5 test -s "$work/held"
  static_node taken "$holder" true "$holder"
  start taken
  ended taken
  is "port in use: exit 1" "1 ERROR: cannot init http server: cannot open http server: listen tcp 127.0.0.1:$holder: bind: address already in use" \
    "$status $(error_of taken)"
  holds "port in use: nothing is mounted" not mounted "$work/taken/mnt"

  static_node nodata "$port" true "$port"
  sed -i 's|^data:.*|data: {dir: /proc/none/data}|' "$work/nodata/litefs.yml"
  start nodata
  ended nodata
  like "no data directory: exit 1" '^1 ERROR: cannot open store: mkdir /proc/none.*: no such file or directory$' "$status $(error_of nodata)"

  static_node file "$port" true "$port"
  touch "$work/file/mnt"
  start file
  ended file
  is "mount point is a file: exit 1" "1 ERROR: cannot init file system: cannot open file system: mkdir $work/file/mnt: not a directory" \
    "$status $(error_of file)"
  holds "the lease was taken all the same" logged file 'primary lease acquired'

  static_node nohelper "$port" true "$port"
  path=/nowhere start nohelper
  ended nohelper
  is "no fusermount3 in PATH: exit 1" '1 ERROR: cannot init file system: cannot open file system: fusermount: exec: "fusermount3": executable file not found in '"\$PATH" \
    "$status $(error_of nohelper)"

  static_node nodevice "$port" true "$port"
  said=$(unshare --mount bash -c 'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec "$@"' - \
    "$litefs" mount -config "$work/nodevice/litefs.yml" 2>&1 >/dev/null)
  status=$?
  like "no /dev/fuse: exit 1" '^1 .*mount helper error: fusermount3: fuse device not found.*ERROR: cannot init file system: cannot open file system: fusermount: exit status 1' \
    "$status ${said//$'\n'/ }"

  static_node command "$port" true "$port"
  start command -- /nowhere/command
  ended command
  is "no such command: exit 1" "1 ERROR: cannot exec: background cmd: cannot start exec command: fork/exec /nowhere/command: no such file or directory" \
    "$status $(error_of command)"

  sed 's|^fuse:|exit-on-error: false\n&|' "$work/file/litefs.yml" >"$work/idle.yml"
  mkdir -p "$work/idle"
  mv "$work/idle.yml" "$work/idle/litefs.yml"
  start idle
  within 3 "exit-on-error false: says that it waits" grep -q 'waiting for signal or subprocess to exit' "$work/idle/out"
  holds "exit-on-error false: alive" alive idle
  is "exit-on-error false: no HTTP" 000 "$(code "$port" /info --max-time 0.3)"
  kill -KILL "${pid[idle]}" "${pid[holder]}"
}

primary_alone() {
  static_node one "$one" true "$one"
  start one
  within 5 "a static primary gets ready" ready one
  soon 2 grep -q 'waiting for signal' "$work/one/out"
  like "stdout: the version, then that it waits" \
    '^LiteFS v0\.5\.14, commit=[0-9a-f]+ waiting for signal or subprocess to exit $' "$(tr '\n' ' ' <"$work/one/out")"
  # The election goes on beside the mount.
  is "the order of the log lines" \
    'no backup client;Using static primary: primary=true;LiteFS mounted to;http server listening;waiting to connect;connected to cluster;no proxy target;' \
    "$(grep -o -E 'no backup client|Using static primary: primary=true|LiteFS mounted to|http server listening|waiting to connect|connected to cluster|no proxy target' "$work/one/err" | tr '\n' ';')"
  is "the order of the election's lines" 'Using static primary;primary lease acquired;set cluster id on;connected to cluster;' \
    "$(grep -o -E 'Using static primary|primary lease acquired|set cluster id on|connected to cluster' "$work/one/err" | tr '\n' ';')"
  is "every line of stderr has its form" "" "$(grep -v -x -E 'level=INFO msg=".*"' "$work/one/err")"
  is "the mount table" "litefs $work/one/mnt fuse rw,nosuid,nodev,relatime,user_id=0,group_id=0 0 0" \
    "$(grep -F " $work/one/mnt " /proc/mounts)"
  is "the root's mode on a primary" 777 "$(stat -c %a "$work/one/mnt")"
  is ".primary is not there" ENOENT "$(failing "os.stat('$work/one/mnt/.primary')")"
  is ".lag of a primary" "+000000000" "$(cat "$work/one/mnt/.lag")"
  like "/info" '^\{
  "clusterID": "LFSC[0-9A-F]{16}",
  "isPrimary": true,
  "candidate": true,
  "path": "'"$work"'/one/data",
  "primary": \{
    "hostname": "node1"
  \}
\}$' "$(api "$one" /info)"
  said=$(api "$one" /info -o /dev/null -D - | tr -d '\r' | tr '\n' ' ')
  like "/info is text" 'Content-Type: text/plain; charset=utf-8' "$said"
  like "/info names the node" 'Litefs-Id: [0-9A-F]{16} ' "$said"
  like "/info names the cluster" 'Litefs-Cluster-Id: LFSC[0-9A-F]{16} ' "$said"
  same "the cluster ID is on the disk" "$(field "$one" 'i["clusterID"]')" "$(cat "$work/one/data/clusterid")"
  is "wrong method: 405" "method not allowed 405" "$(api "$one" /info -X POST -w '%{http_code}' | tr '\n' ' ')"
  is "unknown path: 404" "404 page not found 404" "$(api "$one" /nothing -w '%{http_code}' | tr '\n' ' ')"
  is "promote on the primary: 200, empty" 200 "$(api "$one" /promote -X POST -w '%{http_code}')"
  is "handoff without an ID: 400" "invalid node id 400" "$(api "$one" /handoff -X POST -w '%{http_code}' | tr '\n' ' ')"
  is "handoff to a stranger: 500" "cannot handoff: target node is not currently connected 500" \
    "$(api "$one" '/handoff?nodeID=00000000000000ff' -X POST -w '%{http_code}' | tr '\n' ' ')"

  curl -sN "http://127.0.0.1:$one/events" >"$work/events" &
  pid[events]=$!
  within 2 "/events begins with the role" grep -q -x '{"type":"init","data":{"isPrimary":true}}' "$work/events"
  is "SQLite writes in DELETE mode" "1" "$(sql "$work/one/mnt/app.db" 'create table t(x)' 'insert into t values (1)' 'select * from t')"
  like "the position: 34 bytes, two transactions" '^0000000000000002/[0-9a-f]{16} 34$' \
    "$(cat "$work/one/mnt/app.db-pos") $(wc -c <"$work/one/mnt/app.db-pos")"
  within 2 "/events tells of a transaction" grep -q -E \
    '^\{"type":"tx","db":"app.db","data":\{"txID":"0000000000000002","postApplyChecksum":"[0-9a-f]{16}","pageSize":4096,"commit":2,"timestamp":"[^"]+"\}\}' "$work/events"
  is "SQLite writes in WAL mode" "2" "$(sql "$work/one/mnt/app.db" 'pragma journal_mode=wal' 'insert into t values (2)' 'insert into t values (3)' 'select count(*) - 1 from t')"
  like "each commit adds one" '^0000000000000005/' "$(cat "$work/one/mnt/app.db-pos")"
  is "the database is sound" ok "$(sql "$work/one/mnt/app.db" 'pragma integrity_check')"
  same "/debug/vars has the position" "$(cat "$work/one/mnt/app.db-pos")" "$(api "$one" /debug/vars | python3 -c '
import json, sys
store = json.load(sys.stdin)["store"]; db = store["dbs"]["app.db"]; assert store["isPrimary"] and store["candidate"]
assert db["name"] == "app.db" and db["locks"]["write"] == "unlocked"; print(db["txid"] + "/" + db["checksum"])')"
  said=$(api "$one" /metrics)
  like "/metrics: the role" $'\nlitefs_is_primary 1\n' "$said"
  like "/metrics: the transaction" $'\nlitefs_db_txid\{db="app.db"\} 5\n' "$said"
  like "/metrics: lag and subscribers" 'litefs_lag_seconds 0.*litefs_subscriber_count 0' "${said//$'\n'/ }"
  is "mkdir is refused" EPERM "$(failing "os.mkdir('$work/one/mnt/d')")"
  is "rename is refused" EIO "$(failing "os.rename('$work/one/mnt/app.db', '$work/one/mnt/b')")"
  is "symlink is refused" EIO "$(failing "os.symlink('a', '$work/one/mnt/b')")"
  is "what is no database is refused" EIO "$(failing "os.write(os.open('$work/one/mnt/foo.txt', os.O_CREAT | os.O_WRONLY), b'hi')")"
  holds "and leaves an empty one behind" test -d "$work/one/data/dbs/foo.txt"
  sql "$work/plain.db" 'create table p(x)' 'insert into p values (7)' >/dev/null
  holds "a database cannot be copied in" not cp "$work/plain.db" "$work/one/mnt/copied.db"
  holds "with its reason in the log" logged one 'database write must be exactly one page \(4096 bytes\)'
  holds "litefs import" "$litefs" import -url "http://127.0.0.1:$one" -name imported.db "$work/plain.db"
  is "an imported database is there" 7 "$(sql "$work/one/mnt/imported.db" 'select x from p')"
  is "GET /export gives a database" "SQLite format 3" "$(api "$one" '/export?name=imported.db' | head -c 15)"
  is "GET /export of a stranger: 404" 404 "$(code "$one" '/export?name=none.db')"
  is "a database can be removed" fine "$(failing "os.unlink('$work/one/mnt/imported.db')")"
  is "and is gone" ENOENT "$(failing "os.stat('$work/one/mnt/imported.db')")"
  sql "$work/one/mnt/memory.db" 'create table t(x)' >/dev/null
  said=$(cat "$work/one/mnt/memory.db-pos")
  sql "$work/one/mnt/memory.db" 'pragma journal_mode=memory' 'insert into t values (1)' >/dev/null
  same "a write with journal mode MEMORY moves no position" "$said" "$(cat "$work/one/mnt/memory.db-pos")"
  sql "$work/one/mnt/truncate.db" 'pragma journal_mode=truncate' 'create table t(x)' 'insert into t values (1)' >/dev/null
  like "TRUNCATE counts" '^0000000000000002/' "$(cat "$work/one/mnt/truncate.db-pos")"
  sql "$work/one/mnt/persist.db" 'pragma journal_mode=persist' 'create table t(x)' 'insert into t values (1)' >/dev/null
  like "PERSIST counts" '^0000000000000002/' "$(cat "$work/one/mnt/persist.db-pos")"
  sql "$work/one/mnt/truncate.db" 'begin' 'insert into t values (2)' 'rollback' >/dev/null
  like "a rollback does not" '^0000000000000002/' "$(cat "$work/one/mnt/truncate.db-pos")"
  rm -f "$work/one/mnt/memory.db"
  kill -KILL "${pid[events]}"
  stop one
  is "TERM: exit 0" "0 litefs shut down complete" "$status $(tail -n 1 "$work/one/out")"
  holds "TERM: the mount is gone" not mounted "$work/one/mnt"
}

replica() {
  local lag
  static_node two "$two" false "$one"
  start two
  within 3 "a replica mounts without a primary" mounted "$work/two/mnt"
  within 3 "it says that it waits" logged two 'waiting to connect to cluster'
  is "never synced: .lag" "+2147483647" "$(cat "$work/two/mnt/.lag")"
  is "never synced: .lag is of 1970" 0 "$(stat -c %Y "$work/two/mnt/.lag")"
  is "no cluster ID yet" "None" "$(field "$two" 'i.get("clusterID")')"
  within 3 "it tells why, and tries again" logged two \
    'disconnected from primary with error, retrying: connect to primary: Post .*/stream.*: dial tcp 127.0.0.1:[0-9]+: connect: connection refused'
  kill -TERM "${pid[two]}"
  sleep 1.2
  holds "waiting to connect, it ignores TERM" alive two
  stop two KILL
  is "KILL: 137" 137 "$status"
  is "KILL: the mount is stale" ENOTCONN "$(failing "os.statvfs('$work/two/mnt')")"
  holds "KILL: the mount is still listed" mounted "$work/two/mnt"

  start_ready one
  start two
  within 5 "over a stale mount, with the primary there, a replica gets ready" ready two
  holds "it found the primary" logged two 'existing primary found \(node1\), connecting as replica to .*http://127.0.0.1:'
  holds "it was sent what it lacked" logged two 'snapshot received for .*app.db'
  is ".primary" node1 "$(cat "$work/two/mnt/.primary")"
  within 2 "the positions are equal" same_positions one two app.db
  is "it has the rows" 3 "$(sql "$work/two/mnt/app.db" 'select count(*) from t')"
  lag=$(cat "$work/two/mnt/.lag")
  like ".lag of a replica" '^\+00000[01][0-9]{3}$' "$lag"
  is "a database's mode on a replica" 444 "$(stat -c %a "$work/two/mnt/app.db")"
  is "the root's mode on a replica" 555 "$(stat -c %a "$work/two/mnt")"
  is "/info of a replica" "False True node1" "$(field "$two" 'i["isPrimary"], i["candidate"] == False, i["primary"]["hostname"]' | tr -d "(),'")"
  same "one cluster ID" "$(field "$one" 'i["clusterID"]')" "$(field "$two" 'i["clusterID"]')"
  like "WAL, written on a replica" '^error 778 disk I/O error' "$(sql "$work/two/mnt/app.db" 'insert into t values (9)')"
  within 2 "with its reason in the log" logged two 'fuse: write\(\): wal error: read only replica'
  is "WAL, BEGIN IMMEDIATE on a replica" "3" "$(sql "$work/two/mnt/app.db" 'begin immediate' 'select count(*) from t')"
  like "rollback journal, written on a replica" '^error 1544 attempt to write a readonly database' "$(sql "$work/two/mnt/truncate.db" 'insert into t values (9)')"
  holds "with its reason in the log" logged two 'fuse: create\(\): cannot create journal: read only replica'
  like "a new database on a replica" '^error 1544 ' "$(sql "$work/two/mnt/new.db" 'create table t(x)')"
  holds "leaves a directory behind" test -d "$work/two/data/dbs/new.db"
  is "rm on a replica" EACCES "$(failing "os.unlink('$work/two/mnt/app.db')")"
  is "promote on a non-candidate: 409" "not eligible to become primary 409" "$(api "$two" /promote -X POST -w '%{http_code}' | tr '\n' ' ')"
  is "handoff on a replica: 500" "cannot handoff: node is not currently primary 500" \
    "$(api "$two" '/handoff?nodeID=00000000000000ff' -X POST -w '%{http_code}' | tr '\n' ' ')"
  said=$("$litefs" import -url "http://127.0.0.1:$two" -name i.db "$work/plain.db" 2>&1)
  is "import on a replica" "1 ERROR: invalid response: code=503" "$? $said"
  curl -sN "http://127.0.0.1:$two/events" >"$work/events" &
  pid[events]=$!
  within 2 "/events of a replica" grep -q -x '{"type":"init","data":{"isPrimary":false,"hostname":"node1"}}' "$work/events"
  sql "$work/one/mnt/app.db" 'insert into t values (4)' >/dev/null
  within 2 "a commit arrives" same_positions one two app.db
  is "and is seen" 4 "$(sql "$work/two/mnt/app.db" 'select count(*) from t')"
  within 2 "and told by /events" grep -q '"type":"tx","db":"app.db"' "$work/events"
  python3 - "$work/one/mnt/app.db" "$work/two/mnt/app.db" >"$work/readers" <<'PYTHON'
import sqlite3, sys, time
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
reader = sqlite3.connect(sys.argv[2], isolation_level=None, timeout=5)
count, late = reader.execute("select count(*) from t").fetchone()[0], 0
for step in range(100):
    writer.execute("insert into t values (0)")
    end = time.monotonic() + 1
    while reader.execute("select count(*) from t").fetchone()[0] != count + step + 1:
        if time.monotonic() > end: late += 1; break
print(late, reader.execute("pragma integrity_check").fetchone()[0])
PYTHON
  is "an open connection on the replica sees each of 100 commits" "0 ok" "$(cat "$work/readers")"

  stop one
  is "TERM of the primary: exit 0" 0 "$status"
  within 1 ".primary goes when the primary does" not test -e "$work/two/mnt/.primary"
  within 1 "and the name from /info" hostname_is "$two" ""
  within 3 "/events tells: no primary" grep -q -x '{"type":"primaryChange","data":{"isPrimary":false}}' "$work/events"
  within 3 "/events flaps with each try" test 2 -le "$(sleep 2.2; grep -c -F '"isPrimary":false,"hostname":"node1"' "$work/events")"
  is "it is read on" 104 "$(sql "$work/two/mnt/app.db" 'select count(*) from t')"
  like "the lag grows" '^\+00000[2-9]' "$(cat "$work/two/mnt/.lag")"
  start_ready one
  within 3 "the primary is back: connected again" hostname_is "$two" node1
  kill -KILL "${pid[events]}"
}

reading_and_unseen_writes() {
  python3 - "$work/two/mnt/app.db" "$work/reading" <<'PYTHON' &
import os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("begin"); db.execute("select count(*) from t").fetchone(); open(sys.argv[2], "w").close()
while os.path.exists(sys.argv[2]): time.sleep(0.01)
db.execute("commit")
PYTHON
  pid[reader]=$!
  soon 3 test -e "$work/reading"
  sql "$work/one/mnt/app.db" 'insert into t values (5)' >/dev/null
  sleep 0.5
  holds "a long read on a replica holds up what arrives" not same_positions one two app.db
  is "while it still follows" node1 "$(cat "$work/two/mnt/.primary")"
  rm "$work/reading"
  within 2 "the read over, it catches up" same_positions one two app.db
  ended reader

  sql "$work/one/mnt/unseen.db" 'create table t(x)' 'create table u(x)' >/dev/null
  within 2 "a new database arrives" same_positions one two unseen.db
  said=$(cat "$work/one/mnt/unseen.db-pos")
  sql "$work/one/mnt/unseen.db" 'pragma journal_mode=memory' 'insert into u values (1)' >/dev/null
  same "a write that is not seen moves no position" "$said" "$(cat "$work/one/mnt/unseen.db-pos")"
  is "and does not arrive" 0 "$(sql "$work/two/mnt/unseen.db" 'select count(*) from u')"
  sql "$work/one/mnt/unseen.db" 'insert into t values (2)' >/dev/null
  within 2 "the next commit does" same_positions one two unseen.db
  is "and takes it along" 1 "$(sql "$work/two/mnt/unseen.db" 'select count(*) from u')"
  sql "$work/one/mnt/later.db" 'create table t(x)' 'create table u(x)' 'insert into t values (1)' >/dev/null
  sql "$work/one/mnt/later.db" 'pragma journal_mode=memory' 'insert into u values (2)' >/dev/null
  stop one
  is "stopped with an unseen write, the primary ends well" 0 "$status"
  start one
  ended one
  like "and never starts again" '^1 ERROR: cannot open store: open databases: open database\("later.db"\): recover ltx: database checksum [0-9a-f]{16} on TXID [0-9a-f]{16} does not match LTX post-apply checksum' \
    "$status $(error_of one)"
  rm -r "$work/one/data/dbs/later.db"
  start_ready one
  within 3 "until the database is taken away" hostname_is "$two" node1
}

stops() {
  kill -USR1 "${pid[two]}"
  sleep 0.1
  holds "USR1 is ignored" alive two
  exec {held}<"$work/two/mnt/app.db"
  stop two
  is "TERM with an open file: exit 1" "1 ERROR: exit status 1: fusermount3: failed to unmount $work/two/mnt: Device or resource busy" \
    "$status $(error_of two)"
  is "the mount is stale" ENOTCONN "$(failing "os.statvfs('$work/two/mnt')")"
  holds "in use, it is not unmounted" not fusermount3 -u "$work/two/mnt"
  holds "but lazily it is" fusermount3 -uz "$work/two/mnt"
  exec {held}<&-
  holds "and is not listed then" not mounted "$work/two/mnt"

  start_ready two
  fusermount3 -u "$work/two/mnt"
  sleep 0.2
  holds "unmounted from outside: alive" alive two
  is "unmounted from outside: /info says 200" 200 "$(code "$two" /info)"
  stop two
  is "unmounted from outside: TERM ends with 1" "1 ERROR: exit status 1: fusermount3: failed to unmount $work/two/mnt: Invalid argument" \
    "$status $(error_of two)"

  static_node thief "$three" true "$three"
  sed -i "s|$work/thief/|$work/one/|g" "$work/thief/litefs.yml"
  start_ready thief
  holds "a second instance takes the mount over: both live" alive one
  is "one mount is listed" 1 "$(grep -c -F " $work/one/mnt " /proc/mounts)"
  stop one
  is "the first then ends well only if nothing is mounted: exit" 0 "$status"
  stop thief KILL
  fusermount3 -uz "$work/one/mnt" 2>/dev/null

  start_ready one
  stop one HUP
  is "HUP: 129" 129 "$status"
  start_ready one
  stop one QUIT
  is "QUIT: 2" 2 "$status"
  start_ready one
  stop one INT
  is "INT: 0" 0 "$status"

  sed 's/^lease:/log: {format: json}\n&/' "$work/one/litefs.yml" >"$work/json.yml" && mv "$work/json.yml" "$work/one/litefs.yml"
  start one
  within 3 "log.format json" grep -q -x '{"level":"INFO","msg":"connected to cluster, ready"}' "$work/one/err"
  stop one
  sed -i 's/^fuse: {/&allow-other: true, /' "$work/one/litefs.yml"
  start_ready one
  like "allow-other is in the mount table" ',allow_other ' "$(grep -F " $work/one/mnt " /proc/mounts)"
  stop one
  start one -- sh -c 'exit'
  ended one
  is "exec: its code is ours, and the mount goes" "0 gone" "$status $(mounted "$work/one/mnt" || echo gone)"
}

consul() {
  local url session
  "$lease_server" "127.0.0.1:$lease" --minimum-ttl 0s --expiry-factor 1.2 >"$work/lease" &
  pid[lease]=$!
  soon 5 grep -q listening "$work/lease"
  url=http://127.0.0.1:$lease/pfx
  consul_node A "$one" true "$url"
  consul_node B "$two" true "$url"
  start A
  within 5 "consul: the first becomes primary" ready A
  holds "it names key, URL and itself" logged A "initializing consul: key=lfs/primary url=$url hostname=A advertise-url=http://127.0.0.1:$one"
  is "the key's value" "{\"hostname\":\"A\",\"advertise-url\":\"http://127.0.0.1:$one\"}" "$(api "$lease" '/v1/kv/pfx/lfs/primary?raw')"
  same "the cluster ID's key" "$(cat "$work/A/data/clusterid")" "$(api "$lease" '/v1/kv/pfx/lfs/primary/clusterid?raw')"
  session=$(api "$lease" /v1/session/list | python3 -c 'import json, sys; s = json.load(sys.stdin); print(len(s), s[0]["Name"], s[0]["Node"], s[0]["Behavior"])')
  is "the session" "1 litefs pfx/litefs delete" "$session"
  sql "$work/A/mnt/app.db" 'create table t(x)' >/dev/null
  start B
  within 5 "consul: the second follows" ready B
  holds "without data it cannot be first" logged B 'cannot become primary, local node has no cluster ID and .*consul.* lease already initialized with cluster ID LFSC'
  within 2 "its position is the primary's" same_positions A B app.db

  curl -sN "http://127.0.0.1:$one/events" >"$work/events" &
  pid[events]=$!
  soon 2 grep -q '"init"' "$work/events"
  is "promote on the replica: 200" 200 "$(code "$two" /promote -X POST)"
  within 1 "it is the primary soon" primary_is "$two"
  within 3 "the other follows it" hostname_is "$one" B
  holds "the other kept the lease for it" logged A 'exiting primary, preserving lease for handoff'
  holds "in between it had none" grep -q -x '{"type":"primaryChange","data":{"isPrimary":false}}' "$work/events"
  is "it writes" "" "$(sql "$work/B/mnt/app.db" 'insert into t values (1)')"
  within 2 "and the other has it" same_positions A B app.db
  said=$(api "$one" /info -o /dev/null -D - | tr -d '\r' | sed -n 's/^Litefs-Id: //p')
  is "handoff by the primary: 200" 200 "$(code "$two" "/handoff?nodeID=$said" -X POST)"
  within 3 "the target is the primary" primary_is "$one"
  within 3 "connected again" hostname_is "$two" A

  stop A
  is "TERM of a consul primary: exit 0" 0 "$status"
  holds "it gave its lease back" logged A 'exiting primary, destroying lease'
  within 3 "the other is primary a second later" primary_is "$two"
  start_ready A
  within 3 "back, it follows" hostname_is "$one" B

  kill -KILL "${pid[B]}"
  ended B
  within 1 "KILL of the primary: no name" hostname_is "$one" ""
  holds "but it still holds the key" test -n "$(api "$lease" '/v1/kv/pfx/lfs/primary?raw')"
  start B
  within 3 "restarted at once it meets itself" logged B 'cannot connect to self'
  within 3 "and is told 400" logged B 'connect to primary: invalid response: code=400'
  within 10 "when the lease has run out, there is a primary" somebody_is_primary
  primary_is "$one" && session=A || session=B
  within 3 "and one alone" not both_are_primary
  [[ $session == A ]] && said=$one || said=$two

  kill -STOP "${pid[lease]}"
  sleep 5
  holds "the lease's server hangs past the TTL: still primary" primary_is "$said"
  kill -CONT "${pid[lease]}"
  within 4 "awake again, it finds the lease lost" logged "$session" 'primary lease lost, retrying: lease expired'
  within 6 "then there is a primary again" somebody_is_primary
  primary_is "$one" && session=A || session=B
  [[ $session == A ]] && said=$one || said=$two
  kill -KILL "${pid[lease]}"
  ended lease
  within 6 "the lease's server is gone: it gives the role up" not primary_is "$said"
  like "and refuses writes" '^error 1544 ' "$(sql "$work/$session/mnt/app.db" 'insert into t values (2)')"
  holds "both live" kill -0 "${pid[A]}" "${pid[B]}"
  stop A
  stop B
  fusermount3 -uz "$work/A/mnt" 2>/dev/null
  fusermount3 -uz "$work/B/mnt" 2>/dev/null
  kill -KILL "${pid[A]-}" "${pid[B]-}" 2>/dev/null

  rm -rf "$work/A" "$work/B"
  consul_node A "$one" true "$url"
  start A
  ended A
  like "unreachable, with a path: exit 1" "^1 ERROR: cannot init consul: cannot connect to consul: register node \"pfx/litefs\": Put .*: dial tcp 127.0.0.1:$lease: connect: connection refused$" \
    "$status $(error_of A)"
  consul_node B "$two" true "http://127.0.0.1:$lease"
  start B
  within 3 "unreachable, without a path: runs on" logged B 'cannot fetch cluster ID from .*consul.* lease, retrying: .*connection refused'
  within 3 "and is mounted" mounted "$work/B/mnt"
  "$lease_server" "127.0.0.1:$lease" --minimum-ttl 0s --expiry-factor 1.2 >"$work/lease" &
  pid[lease]=$!
  within 4 "once it is reachable, it gets ready" ready B
  stop B
  echo LFSC0123456789ABCDEF >"$work/B/data/clusterid"
  start B
  within 3 "another cluster's ID: it never connects" logged B 'cannot connect, .*consul.* lease already initialized with different ID: LFSC'
  stop B KILL
  fusermount3 -uz "$work/B/mnt" 2>/dev/null

  rm -rf "$work/B"
  consul_node A "$one" true "$url"
  consul_node B "$two" true "$url"
  sed -i 's/candidate: true/candidate: true\n  promote: true/' "$work/B/litefs.yml"
  api "$lease" '/v1/kv/pfx/?recurse' -X DELETE >/dev/null
  start_ready A
  start B
  within 5 "lease.promote: it takes over at its start" primary_is "$two"
  holds "and says so" logged B 'node is a candidate, automatically promoting to primary'
  within 3 "the other follows" hostname_is "$one" B
  stop A
  api "$lease" /orders/forget -X PUT >/dev/null
  within 8 "the lease's server lost its state: nobody can be elected" logged B 'create consul session: Unexpected response code: 500 \(Missing node registration\)'
  start A
  within 8 "a restart registers the node again, and there is a primary" somebody_is_primary
  primary_is "$one" && said=A || said=B
  kill -STOP "${pid[lease]}"
  kill -TERM "${pid[$said]}"
  within 2 "TERM while the lease's server hangs: unmounted" not mounted "$work/$said/mnt"
  sleep 0.5
  holds "but not ended" alive "$said"
  kill -CONT "${pid[lease]}"
  ended "$said"
  is "until the server answers" 0 "$status"
  [[ $said == A ]] && said=B || said=A
  stop "$said" KILL
  fusermount3 -uz "$work/$said/mnt" 2>/dev/null
  kill -KILL "${pid[lease]}"
}

orders() {
  static_node one "$one" true "$one"
  static_node two "$two" false "$one"
  start_ready one
  start_ready two
  touch "$work/one/orders/hang-api"
  is "ordered: the API hangs" 000 "$(code "$one" /info --max-time 0.3)"
  rm "$work/one/orders/hang-api"
  is "and answers again" 200 "$(code "$one" /info)"
  touch "$work/two/orders/pause-replication"
  sql "$work/one/mnt/app.db" 'insert into t values (5)' >/dev/null
  sleep 0.3
  holds "ordered: a replica falls behind" not same_positions one two app.db
  rm "$work/two/orders/pause-replication"
  within 2 "and catches up" same_positions one two app.db
  touch "$work/two/orders/hang-fuse"
  timeout --signal=KILL 0.3 cat "$work/two/mnt/.lag" >/dev/null 2>&1
  is "ordered: the mount hangs" 137 $?
  rm "$work/two/orders/hang-fuse"
  within 2 "and answers again" cat "$work/two/mnt/.lag"
  touch "$work/two/orders/hang-fuse-hard"
  cat "$work/two/mnt/.lag" >/dev/null 2>&1 &
  pid[stuck]=$!
  sleep 0.2
  kill -KILL "${pid[stuck]}"
  sleep 0.2
  holds "ordered: who asks cannot be killed" alive stuck
  rm "$work/two/orders/hang-fuse-hard"
  ended stuck
  is "until it is answered" 137 "$status"
  touch "$work/two/orders/ignore-term"
  kill -TERM "${pid[two]}"
  sleep 0.2
  holds "ordered: TERM is ignored" alive two
  rm "$work/two/orders/ignore-term"
  touch "$work/one/orders/exit-99"
  sql "$work/one/mnt/app.db" 'insert into t values (6)' >/dev/null
  ended one
  is "ordered: a commit ends with 99" 99 "$status"
  is "the mount is stale" ENOTCONN "$(failing "os.statvfs('$work/one/mnt')")"
  touch "$work/one/orders/fail-open"
  start one
  ended one
  like "ordered: a start fails" '^1 ERROR: cannot open store: open databases: open database.*: recover ltx: database checksum' "$status $(error_of one)"
  rm "$work/one/orders/fail-open"
  echo 300 >"$work/one/orders/delay-mount"
  start one
  sleep 0.2
  holds "ordered: the mount comes late" not mounted "$work/one/mnt"
  within 2 "but comes" ready one
  echo 7 >"$work/one/orders/exit"
  ended one
  is "ordered: an exit" 7 "$status"
  fusermount3 -uz "$work/one/mnt"
  stop two
  is "TERM while a connected replica lost its primary: exit 0" 0 "$status"
}

contract() { # SUBJECT BINARY
  subject=$1
  litefs=$2
  read -r one two three lease < <(free_ports 4)
  command_line
  failing_starts
  primary_alone
  replica
  reading_and_unseen_writes
  stops
  consul
  [[ $subject == real ]] || orders
  while read -r _ mount _; do
    [[ $mount != "$work"/* ]] || says "leaves no mount" 1 "no mount" "$mount"
  done </proc/mounts
  rm -rf -- "${work:?}"/*
}

begun=$SECONDS
[[ ${CONTRACT_ONLY-} == real ]] || contract stand-in "$standin"
[[ -z ${LITEFS_BINARY-} ]] || contract real "$LITEFS_BINARY"
printf 'contract: %d assertions, %d wrong, in %d s\n' "$number" "$failures" $((SECONDS - begun))
((failures == 0))

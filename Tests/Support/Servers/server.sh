#!/usr/bin/env bash
# A PostgreSQL server for tests: server.sh FOLDER PORT
#
# Makes a cluster in FOLDER and serves it on 127.0.0.1:PORT. It obeys lines on standard input, and answers each with a
# line: `ok`, or what went wrong.
#   start · stop (immediate: nobody is told) · fast (sessions are ended first)
#   standby                            start, as a standby that never hears of its primary
#   recovering · promote               start, and take no connections (57P03) · until it is promoted
#   bouncer PORT SIZE [MODE] · unbouncer   PgBouncer in transaction mode, or this one, with SIZE connections to the server
# At the end of its input, and that is also the end of whoever started it, everything stops and FOLDER is removed.
# Never as root: root's servers run as the user postgres.
set -euo pipefail
unset CDPATH

folder=$1
port=$2

programs=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
programs=${programs:-$(pg_config --bindir)}

as_user=()
if ((EUID == 0)); then
  as_user=(setpriv --reuid=postgres --regid=postgres --clear-groups)
  chown postgres: -- "$folder"
fi
cd -- "$folder"

bouncer=

stop_bouncer() {
  if [[ -n $bouncer ]]; then
    kill -KILL "$bouncer" 2>/dev/null || true
    wait "$bouncer" 2>/dev/null || true
    bouncer=
  fi
}

stop_server() {
  "${as_user[@]}" "$programs/pg_ctl" -D data -m "$1" -w -t 60 stop >>log.txt 2>&1 || true
}

promote() {
  "${as_user[@]}" "$programs/pg_ctl" -D data -w -t 60 promote </dev/null >>start.txt 2>&1
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
  stop_bouncer
  stop_server immediate
  cd /
  rm -rf -- "$folder"
}
trap cleanup EXIT
trap '' INT TERM HUP PIPE

# start_server [OPTIONS]: of postgres's, in one word
start_server() {
  "${as_user[@]}" "$programs/pg_ctl" -D data -l log.txt -w -t 60 -o "-p $port ${1-}" start </dev/null >>start.txt 2>&1
}

make_cluster() {
  # For a name that nobody asks for: connections are encrypted, as they are by default, and can be refused for it.
  "${as_user[@]}" openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
    -subj /CN=db.example -keyout server.key -out server.crt >openssl.txt 2>&1 || {
    cat openssl.txt
    return 1
  }
  chmod 600 server.key
  chmod 644 server.crt
  "${as_user[@]}" "$programs/initdb" -D data -U postgres -A trust -E UTF8 --locale=C --no-sync >initdb.txt 2>&1 || {
    cat initdb.txt
    return 1
  }
  cat >>data/postgresql.conf <<SETTINGS
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
ssl = on
ssl_cert_file = '$folder/server.crt'
ssl_key_file = '$folder/server.key'
shared_buffers = 16MB
max_connections = 150
log_lock_waits = on
log_line_prefix = '%m [%p] %a '
SETTINGS
  cat >data/pg_hba.conf <<RULES
host all postgres,app 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
RULES
}

# start_bouncer PORT SIZE MODE
start_bouncer() {
  cat >bouncer.ini <<SETTINGS
[databases]
* = host=127.0.0.1 port=$port user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $1
unix_socket_dir =
auth_type = any
pool_mode = $3
default_pool_size = $2
max_client_conn = 500
server_login_retry = 1
SETTINGS
  "${as_user[@]}" "$(command -v pgbouncer || echo /usr/sbin/pgbouncer)" "$folder/bouncer.ini" </dev/null >bouncer.txt 2>&1 &
  bouncer=$!
  local tries
  for ((tries = 0; tries < 200; tries++)); do
    if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
      return 0
    fi
    kill -0 "$bouncer" 2>/dev/null || break
    sleep 0.05
  done
  cat bouncer.txt
  return 1
}

answer() {
  local said
  if said=$("$@" 2>&1 | tr '\n' ' '; exit "${PIPESTATUS[0]}"); then
    echo ok
  else
    echo "failed: $* $said"
  fi
}

make_cluster || exit 1
if start_server ""; then echo ok; else
  echo "failed: $(tr '\n' ' ' <log.txt)"
  exit 1
fi
while read -r command first second third; do
  case $command in
    start) answer start_server "" ;;
    stop) answer stop_server immediate ;;
    fast) answer stop_server fast ;;
    standby)
      touch data/standby.signal
      answer start_server ""
      ;;
    recovering)
      touch data/standby.signal
      answer start_server "-c hot_standby=off"
      ;;
    promote) answer promote ;;
    bouncer) if start_bouncer "$first" "$second" "${third:-transaction}"; then echo ok; else echo failed; fi ;;
    unbouncer)
      stop_bouncer
      echo ok
      ;;
    *) echo "failed: $command is unknown" ;;
  esac
done

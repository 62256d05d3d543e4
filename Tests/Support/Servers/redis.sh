#!/usr/bin/env bash
# A Redis server for tests: redis.sh FOLDER PORT
#
# Its files are in FOLDER, among them certificates, each with its .key: ca.crt, and signed by it server.crt for
# localhost and 127.0.0.1, named.crt for localhost alone, and other.crt for db.example. It obeys lines on standard
# input, and answers each with a line: `ok`, or what went wrong.
#   start OPTION…      serve 127.0.0.1:PORT, with options of redis-server's (--maxclients 3); no option has a space
#   stop · kill        in order, with its data saved · nobody is told
#   freeze · thaw      it answers nothing · it goes on
# At the end of its input, and that is also the end of whoever started it, the server ends and FOLDER is removed.
set -euo pipefail
unset CDPATH

folder=$1
port=$2
cd -- "$folder"
server=

# shellcheck disable=SC2317 # called by the trap
cleanup() {
  end_server KILL
  cd /
  rm -rf -- "$folder"
}
trap cleanup EXIT
trap '' INT TERM HUP PIPE

# end_server SIGNAL
end_server() {
  if [[ -n $server ]]; then
    kill "-$1" "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
  fi
}

# sign NAME SUBJECT ALTERNATIVES
sign() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" \
    -keyout "$1.key" -out "$1.csr" &&
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out "$1.crt" \
      -extfile <(printf 'subjectAltName=%s\n' "$3")
}

make_certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
    -keyout ca.key -out ca.crt &&
    sign server localhost DNS:localhost,IP:127.0.0.1 && sign named localhost DNS:localhost && sign other db.example DNS:db.example
}

# start_server OPTION…
start_server() {
  # With the same signals as always: it has to end in order.
  env --default-signal redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' \
    --enable-debug-command yes "$@" </dev/null >>log.txt 2>&1 &
  server=$!
  local tries
  for ((tries = 0; tries < 400; tries++)); do
    if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      return 0
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.02
  done
  end_server KILL
  return 1
}

if make_certificates >certificates.txt 2>&1; then echo ok; else
  echo "failed: $(tr '\n' ' ' <certificates.txt)"
  exit 1
fi
while read -r -a words; do
  case ${words[0]-} in
    start) if start_server "${words[@]:1}"; then echo ok; else echo "failed: $(tail -n 5 log.txt | tr '\n' ' ')"; fi ;;
    stop)
      end_server TERM
      echo ok
      ;;
    kill)
      end_server KILL
      echo ok
      ;;
    freeze)
      kill -STOP "$server"
      echo ok
      ;;
    thaw)
      kill -CONT "$server"
      echo ok
      ;;
    *) echo "failed: ${words[*]} is unknown" ;;
  esac
done

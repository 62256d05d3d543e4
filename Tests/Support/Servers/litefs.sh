#!/usr/bin/env bash
# A LiteFS for tests: litefs.sh FOLDER PORT
#
# The one that LITEFS_BINARY names, else the stand-in (Tests/LiteFSStandIn), built when needed. In FOLDER are litefs.yml,
# which whoever called it writes, the data directory `data`, the mount point `mnt`, the stand-in's `orders`, and log.txt. It
# obeys lines on standard input, and answers each with a line: `ok`, or what went wrong.
#   start              mount, and return when /info answers
#   stop · kill        in order, and when it has not ended after 5 s without a word · without a word
#   unmount            from outside, in use or not
#   order NAME · revoke NAME   an order for the stand-in · no more; it is revoked after a minute at the latest, since whoever
#                      waits in a mount that hangs cannot even be killed
# At the end of its input, and that is also the end of whoever started it, LiteFS ends, and nothing of it is left.
set -euo pipefail
unset CDPATH

folder=$1
port=$2
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd -- "$folder"
mkdir data mnt orders
mkfifo never
node=
timers=()

mounted() { grep -q -F " $folder/mnt fuse " /proc/self/mounts; }

# shellcheck disable=SC2317 # called by the trap
cleanup() {
  end_node KILL
  [[ ${#timers[@]} -eq 0 ]] || kill -KILL "${timers[@]}" 2>/dev/null || true
  local tries
  for ((tries = 0; tries < 20; tries++)); do
    mounted || break
    umount -l "$folder/mnt" || true
  done
  cd /
  rm -rf --one-file-system -- "$folder"
}
trap cleanup EXIT
trap '' INT TERM HUP PIPE

# end_node SIGNAL
end_node() {
  [[ -n $node ]] || return 0
  # Nobody who waits for an answer may keep it from ending.
  rm -f orders/*
  kill "-$1" "$node" 2>/dev/null || true
  local tries
  for ((tries = 0; tries < 250; tries++)); do
    kill -0 "$node" 2>/dev/null || break
    sleep 0.02
  done
  kill -KILL "$node" 2>/dev/null || true
  wait "$node" 2>/dev/null || true
  node=
}

start_node() {
  env --default-signal LITEFS_STANDIN_ORDERS="$folder/orders" \
    "$binary" mount -config "$folder/litefs.yml" -no-expand-env </dev/null >>log.txt 2>&1 &
  node=$!
  local tries
  for ((tries = 0; tries < 500; tries++)); do
    if mounted && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
    kill -0 "$node" 2>/dev/null || break
    sleep 0.02
  done
  end_node KILL
  return 1
}

if binary=${LITEFS_BINARY:-$("$here/../../LiteFSStandIn/build.sh" 2>build.txt)}; then echo ok; else
  echo "failed: $(tail -n 5 build.txt | tr '\n' ' ')"
  exit 1
fi
while read -r -a words; do
  case ${words[0]-} in
    start) if start_node; then echo ok; else echo "failed: $(tail -n 5 log.txt | tr '\n' ' ')"; fi ;;
    stop)
      end_node TERM
      echo ok
      ;;
    kill)
      end_node KILL
      echo ok
      ;;
    unmount) if umount -l "$folder/mnt" 2>log.txt; then echo ok; else echo "failed: $(<log.txt)"; fi ;;
    order)
      : >"orders/${words[1]}"
      # By the shell alone: a sleep would outlive it, and whoever started us would wait for that one too.
      { read -r -t 60 || rm -f "orders/${words[1]}"; } <>never >/dev/null 2>&1 &
      timers+=($!)
      echo ok
      ;;
    revoke)
      rm -f "orders/${words[1]}"
      echo ok
      ;;
    *) echo "failed: ${words[*]} is no order" ;;
  esac
done

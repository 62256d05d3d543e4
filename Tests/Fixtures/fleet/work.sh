#!/bin/sh
# A migration without Python: work.sh NAME [SECONDS]
#
# It leaves behind what witness/record.py does: a row in migration_runs, in a transaction of its own that takes so many
# seconds in the server and holds an advisory lock meanwhile; lines in FLEET_WITNESS/events; an flock that belongs to this
# process and what it started. Like `migrate` it looks first whether its work is recorded.
# FLEET_SECONDS goes before SECONDS.
set -eu
name=$1
seconds=${FLEET_SECONDS:-${2:-0}}

note() { echo "$(date +%s.%N) $FLEET_NODE $$ $name $1" >>"$FLEET_WITNESS/events"; }

exec 9>"$FLEET_WITNESS/$name.lock"
flock -n 9 || note overlap
note enter
psql -X -q -A -t -v ON_ERROR_STOP=1 -v name="$name" -v node="$FLEET_NODE" -v process=$$ -v seconds="$seconds" <<'SQL' |
SELECT count(*) = 0 AS is_due FROM migration_runs WHERE name = :'name' \gset
\if :is_due
BEGIN;
SELECT CASE WHEN pg_try_advisory_xact_lock(hashtext(:'name')) THEN 'alone' ELSE 'left-behind' END;
INSERT INTO migration_runs (name, node, pid, at) VALUES (:'name', :'node', :'process', clock_timestamp());
SELECT '' FROM pg_sleep(:seconds);
COMMIT;
\endif
SELECT 'finished';
SQL
  {
    last=
    while read -r line; do
      [ "$line" != left-behind ] || note left-behind
      last=$line
    done
    # What psql returns is lost in a pipe.
    [ "$last" = finished ]
  }
note leave

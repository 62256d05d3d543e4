#!/usr/bin/env bash
# Holds the JSON Schema of the settings against real files: it must be a schema, accept every example, and refuse the
# broken files of Tests/SettingsTests/Broken that say so in their first line.
#
#   Tests/Checks/settings-schema.sh [SCHEMA]
set -euo pipefail
unset CDPATH

checks=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$checks/../.." && pwd)

# Debian's interpreter, which has Debian's packages; another python may come first in PATH.
for python in /usr/bin/python3 python3; do
  if "$python" -c 'import jsonschema, yaml' 2>/dev/null; then
    exec "$python" "$checks/settings-schema.py" "${1:-$root/Config/supervisor.schema.json}" "$root"
  fi
done
echo "settings-schema: no python3 with jsonschema and yaml; install python3-jsonschema and python3-yaml" >&2
exit 1

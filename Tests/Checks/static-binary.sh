#!/usr/bin/env bash
# Fails when a program would load anything at run time: Tests/Checks/static-binary.sh BINARY
#
# PID 1 has to start in an image that holds nothing else, and no library may be able to take it down. A static
# position-independent program does have a dynamic section, for its own relocations; so what counts is what
# the section asks for: no interpreter, no NEEDED, no filter, no audit library, no search path.
set -euo pipefail

if (($# != 1)); then
  echo "usage: Tests/Checks/static-binary.sh BINARY" >&2
  exit 64
fi
binary=$1

# With its output in a variable readelf's own failure is seen too; LC_ALL because its words are compared.
if ! segments=$(LC_ALL=C readelf --wide --program-headers -- "$binary" 2>&1) ||
  ! dynamic=$(LC_ALL=C readelf --wide --dynamic -- "$binary" 2>&1) ||
  [[ $segments != *"Program Headers:"* ]]; then
  echo "static-binary: $binary cannot be read as an ELF program: ${segments%%$'\n'*}" >&2
  exit 1
fi

found=0
if [[ $segments =~ "Requesting program interpreter: "([^]]*) ]]; then
  echo "static-binary: $binary asks for the interpreter ${BASH_REMATCH[1]}" >&2
  found=1
elif [[ $segments =~ (^|$'\n')" "+INTERP ]]; then
  echo "static-binary: $binary has an INTERP segment" >&2
  found=1
fi
while IFS= read -r entry; do
  echo "static-binary: $binary has a dynamic section that loads something: $entry" >&2
  found=1
done < <(grep -o -E '\((NEEDED|FILTER|AUXILIARY|AUDIT|DEPAUDIT|RPATH|RUNPATH)\).*' <<<"$dynamic" || true)

if ((found)); then
  echo "static-binary: link with -static-executable and without dynamic libraries" >&2
  exit 1
fi

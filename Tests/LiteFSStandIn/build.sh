#!/usr/bin/env bash
# Builds the stand-in for LiteFS and prints the path of its executable, `litefs`; `lease-server` lies beside it.
# Nothing happens when both are newer than their sources. Needs Swift, libfuse3-dev and libyaml-dev.
set -euo pipefail
unset CDPATH

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
build=(swift build --package-path "$here" --scratch-path "$root/.build-litefs" -c release --static-swift-stdlib)

out=$root/.build-litefs/release
if [[ ! -x $out/litefs || ! -x $out/lease-server ]] ||
  [[ -n $(find -L "$here/Sources" "$here/Package.swift" -newer "$out/litefs" -print -quit) ]]; then
  "${build[@]}" >&2
  # The linker leaves a file alone that would be the same.
  touch -- "$out/litefs" "$out/lease-server"
fi
printf '%s\n' "$out/litefs"

#!/usr/bin/env bash
# Runs the example batches over the captures that the project carries and shows what they answer.
#
#   configs/demo.sh [LINES]     LINES of each result file, 12 when not given
#
# WIRETABLE names the command to run; without it, the optimised build of this tree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lines=${1:-12}
wiretable=${WIRETABLE:-${CARGO_TARGET_DIR:-target}/release/wiretable}
[ -x "$wiretable" ] || { echo "demo: $wiretable is not built: run 'make build' first" >&2; exit 2; }
rule=$(printf '%.0s─' {1..100})

# The title of a batch is the first comment line of its file.
title() { sed -n 's/^# *\(..*\)$/\1/p;/^#/q' "$1" | head -n 1; }

# The files a batch writes: the values of its `path` keys, as they stand, or beside the batch.
results() {
  sed -nE 's/^[^#]*\bpath *= *"([^"]+)".*$/\1/p' "$1" | while IFS= read -r file; do
    if [ -e "$file" ]; then printf '%s\n' "$file"
    elif [ -e "configs/$file" ]; then printf 'configs/%s\n' "$file"
    else echo "demo: $1 names $file, which was not written" >&2; exit 1
    fi
  done
}

for name in traffic-matrix top-talkers tcp-health; do
  config=configs/$name.toml
  printf '\n%s\n%s: %s\n%s\n' "$rule" "$name" "$(title "$config")" "$rule"
  printf '$ wiretable run %s\n' "$config"
  "$wiretable" run "$config"
  files=$(results "$config")
  while IFS= read -r file; do
    [ -n "$file" ] || continue
    rows=$(wc -l <"$file")
    printf '\n── %s\n' "$file"
    head -n "$lines" "$file"
    if [ "$rows" -gt "$lines" ]; then printf '   … %d lines in all\n' "$rows"; fi
  done <<<"$files"
done
printf '\n'

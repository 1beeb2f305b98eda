#!/usr/bin/env bash
# Runs the example batches over the captures that the project carries and shows what they answer.
#
#   configs/demo.sh [LINES]     LINES of each result file, 12 when not given
#
# WIRETABLE names the command to run; without it, the optimised build of this tree. The results stay in target/demo
# (or in demo below CARGO_TARGET_DIR), because the batches write below the current directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lines=${1:-12}
target=${CARGO_TARGET_DIR:-target}
wiretable=${WIRETABLE:-$target/release/wiretable}
[ -x "$wiretable" ] || { echo "demo: $wiretable is not built: run 'make build' first" >&2; exit 2; }
wiretable=$(realpath "$wiretable")
configs=$(realpath configs)
mkdir -p "$target/demo"
cd "$target/demo"
rule=$(printf '%.0s─' {1..100})

# title FILE: its `title`; about FILE: its first comment, which says what the batch answers.
title() { sed -nE 's/^title *= *"(.*)"$/\1/p' "$1"; }
about() { sed -nE '1s/^# *(.*)$/\1/p' "$1"; }
# sinks FILE: the files that a batch writes, in the order of its queries.
sinks() { sed -nE 's/^sink *= *\{.*\bpath *= *"([^"]+)".*$/\1/p' "$1"; }

for name in traffic-matrix top-talkers tcp-health web; do
  config=$configs/$name.toml
  printf '\n%s\n%s\n%s\n%s\n' "$rule" "$(title "$config")" "$(about "$config")" "$rule"
  printf '$ wiretable run configs/%s.toml\n' "$name"
  # What an earlier run left must not pass for an answer of this one.
  sinks "$config" | while IFS= read -r file; do rm -f "$file"; done
  "$wiretable" run "$config"
  sinks "$config" | while IFS= read -r file; do
    [ -e "$file" ] || { echo "demo: $name.toml names $file, which was not written" >&2; exit 1; }
    printf '\n── %s\n' "$file"
    head -n "$lines" "$file"
    written=$(wc -l <"$file")
    if [ "$written" -gt "$lines" ]; then printf '   … %d lines in all\n' "$written"; fi
  done
done
printf '\nThe results are in %s\n' "$PWD"

for example in load-balancing telemetry flood; do
  printf '\n%s\n%s\n%s\n' "$rule" "configs/examples/$example: $(sed -n '2s/^# //p' "$configs/examples/$example/run.sh")" "$rule"
  if ! command -v pg_config >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    echo "left out: it needs PostgreSQL (.ci/setup installs it)"
  elif [ "$example" = flood ] && [ "$(id -u)" != 0 ]; then
    echo "left out: it needs root, for network namespaces and a program in a driver"
  else
    WIRETABLE=$wiretable WT_BENCH=$(dirname "$wiretable")/wt-bench "$configs/examples/$example/run.sh"
  fi
done

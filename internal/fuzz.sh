#!/usr/bin/env bash
# Runs every fuzz target of the module, each for the time given (default 30s).
# What is found interesting is made smaller for a second only: with goroutines
# underneath it differs from run to run, and a minute each would be all the time.
set -euo pipefail
cd "$(dirname "$0")/.."
for_time=${1:-30s}
grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do
  sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$file" | while read -r target; do
    echo "== $target ($(dirname "$file"))"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$for_time" -fuzzminimizetime 1s "$(dirname "$file")"
  done
done

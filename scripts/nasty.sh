#!/usr/bin/env bash
# 1,000 short visits x instruments, 5 % of them spoiled in every way that we know, one run: nothing may be wrong without a word.
# Arguments go to benchmarks.nasty, e.g. `bash scripts/nasty.sh --seed 3 --units 100 --share 0.5`. Takes about 20 minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
exec python -m benchmarks.nasty "$@" </dev/null

#!/usr/bin/env bash
# The default test run in the private environment; arguments go to pytest (`bash scripts/test.sh -m slow`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
# one process a core, up to four; each file's tests stay together, since they share their simulated data
exec python -m pytest -n "${V50CALIB_TEST_PROCESSES:-$(python -c 'import os; print(min(4, os.cpu_count() or 1))')}" --dist loadfile "$@"

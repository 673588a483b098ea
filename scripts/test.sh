#!/usr/bin/env bash
# The default test run in the private environment; arguments go to pytest (`bash scripts/test.sh -m slow`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
# one process per core, at most four; the tests of a file run in one process, because they share simulated data
exec python -m pytest -n "${V50CALIB_TEST_PROCESSES:-$(python -c 'import os; print(min(4, os.cpu_count() or 1))')}" --dist loadfile "$@"

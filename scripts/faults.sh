#!/usr/bin/env bash
# The fault campaign: every kind of fault once, each followed by a resumed run, whose store must equal that of an undisturbed run
# bit for bit.
# Arguments go to pytest, e.g. `bash scripts/faults.sh -k signal`. Takes minutes; faults of a file system need root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
exec python -m pytest -m faults tests/faults -p no:cacheprovider --durations=0 "$@" </dev/null

#!/usr/bin/env bash
# Makes .venv-moto with the S3 server that tests/objects runs against. It has an environment of its own, because moto's
# dependencies (botocore) exclude versions that constraints.txt pins.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-python3}"
if [ ! -x "$root/.venv-moto/bin/moto_server" ]; then
    "$python" -m venv "$root/.venv-moto"
    "$root/.venv-moto/bin/python" -m pip install --quiet "moto[s3,server]==5.2.5"
fi
echo "$root/.venv-moto/bin/moto_server"

#!/usr/bin/env bash
# Makes .venv-moto with the S3 server that tests/objects and scripts/faults.sh run against. It has an environment of its own,
# because moto's dependencies (botocore) exclude versions that constraints.txt pins. PYTHON names the interpreter (python3).
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-python3}"
venv="$root/.venv-moto"
if [ ! -x "$venv/bin/moto_server" ]; then
    # moto has thousands of modules, of which the server loads few: they are not compiled here, and a pip that is there is used
    pip=("$python" -m pip --python "$venv/bin/python")
    if "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --clear --without-pip "$venv"
    else
        "$python" -m venv --clear "$venv"
        pip=("$venv/bin/python" -m pip)
    fi
    "${pip[@]}" install --quiet --disable-pip-version-check --no-input --no-compile "moto[s3,server]==5.2.5"
fi
echo "$venv/bin/moto_server"

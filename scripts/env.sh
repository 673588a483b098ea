# Makes the private environment in .venv/ (once) and puts it first in PATH. Source it, from any directory:
#     source scripts/env.sh
# PYTHON=/path/to/python3 chooses the interpreter; V50CALIB_VENV another folder than .venv; V50CALIB_BASE=1 installs what a run needs
# (0.9 GB) and leaves out tests, notebooks and PyTorch (2.5 GB with them).
# Nothing is reinstalled while pyproject.toml, constraints.txt, the interpreter and the path of the checkout stay the same.

v50calib_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

v50calib_find_python() {
    local candidate seen=""
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
        seen="$seen $candidate($("$candidate" -V 2>&1 | tail -n 1 | cut -c 1-60))"
    done
    {
        echo "v50calib needs Python 3.11 or newer; tried:$seen."
        echo "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: PYTHON=/path/to/python3 $0"
    } >&2
    return 1
}

v50calib_make_venv() {
    local python="$1" venv="$2"
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        {
            echo "$("$python" -V) at $python has no 'venv' or 'ensurepip' module, so no private environment can be made."
            echo "Debian, Ubuntu: apt install python3-venv, then run this again; or name another interpreter: PYTHON=/path/to/python3 $0"
        } >&2
        return 1
    fi
    "$python" -m venv --clear "$venv"
}

v50calib_stamp() {
    "$1" - "$v50calib_root" <<'PY'
import hashlib
import pathlib
import sys

root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(f"{sys.version}|{sys.base_prefix}|{root}".encode())
for name in ("pyproject.toml", "constraints.txt"):
    digest.update((root / name).read_bytes())
print(digest.hexdigest())
PY
}

# Only a build for CPUs: on Linux the plain package brings several GB for GPUs.
v50calib_torch() {
    local wanted
    wanted="$(sed -n 's/^torch==//p' "$v50calib_root/constraints.txt")+cpu"
    if ! "$1/bin/python" -m pip install -qq --disable-pip-version-check --no-input -c "$v50calib_root/constraints.txt" \
        "torch==$wanted" >"$1/torch.log" 2>&1; then
        echo "torch $wanted is not available for this Python (log: $1/torch.log). Only calib.top_level_calib.method=corel needs it;" \
            "its tests are skipped. PyTorch's index of CPU builds has it: PIP_EXTRA_INDEX_URL, then remove $1/v50calib.stamp" >&2
    fi
}

v50calib_env() {
    local python venv stamp found base="${V50CALIB_BASE:+ base}" extras="[all]" size="2.5 GB, tests and notebooks included"
    python="$(v50calib_find_python)" || return 1
    venv="${V50CALIB_VENV:-$v50calib_root/.venv}"
    stamp="$(v50calib_stamp "$python")" || return 1
    found="$(cat "$venv/v50calib.stamp" 2>/dev/null || true)"
    # an environment with everything serves a run as well
    if [ "$found" != "$stamp" ] && [ "$found" != "$stamp${base:- all}" ]; then
        if [ -n "$base" ]; then
            extras="" size="0.9 GB"
        fi
        echo "Setting up $venv with $("$python" -V): $size; this happens once and takes a minute or two." >&2
        v50calib_make_venv "$python" "$venv" || return 1
        # the constraints hold for the build requirements of source packages, too: PIP_CONSTRAINT for pip < 25.3, PIP_BUILD_CONSTRAINT later
        if ! PIP_CONSTRAINT="$v50calib_root/constraints.txt" PIP_BUILD_CONSTRAINT="$v50calib_root/constraints.txt" \
            "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input \
            -c "$v50calib_root/constraints.txt" -e "$v50calib_root$extras" >&2; then
            echo "Installing into $venv failed (see pip's message above). A network or a package mirror set up for pip is needed" \
                "the first time; run this again once that is solved." >&2
            return 1
        fi
        if [ -z "$base" ]; then
            v50calib_torch "$venv"
        fi
        # written last: an installation that was interrupted starts again
        echo "$stamp$base" >"$venv/v50calib.stamp"
    fi
    export VIRTUAL_ENV="$venv"
    case ":$PATH:" in
        ":$venv/bin:"*) ;;
        *) export PATH="$venv/bin:$PATH" ;;
    esac
}

v50calib_env

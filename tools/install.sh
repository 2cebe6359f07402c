#!/bin/sh
# Makes a virtual environment and installs the project into it. Called by the Makefile as
#
#     sh tools/install.sh VENV EXTRAS
#
# EXTRAS is empty for running and "dev,serve,site,wandb" for developing. Two environment variables steer it:
#   PYTHON        the interpreter to use (default: the first of python3, python3.13, ... that is 3.11 or newer)
#   TORCH_INDEX   where torch comes from besides PyPI: "auto" (default), "none", or the URL of a package index.
#                 PyPI's torch for Linux is the CUDA build, gigabytes that a machine without an Nvidia GPU cannot
#                 use: there, "auto" takes the CPU build from pytorch.org when that can be reached.
set -eu

venv=$1
extras=$2
torch_index=${TORCH_INDEX:-auto}
cpu_index=https://download.pytorch.org/whl/cpu

fail() {
    echo "install: $*" >&2
    exit 1
}

is_usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ ! -x "$venv/bin/python" ]; then
    python=""
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if is_usable "$candidate"; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || fail "found no Python 3.11 or newer (tried: ${PYTHON:-python3, python3.13, python3.12, python3.11}).
Install one from your package manager or python.org, or name it: make demo PYTHON=/path/to/python3"
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        fail "$python cannot make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv"
    echo "install: making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
fi

# Answers within seconds whether an index can be reached; pip itself would retry for minutes.
is_reachable() {
    "$venv/bin/python" - "$1/torch/" 2>/dev/null <<'PROBE'
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=5).close()
PROBE
}

case $torch_index in
none)
    index="" ;;
auto)
    index=""
    if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then
        if is_reachable "$cpu_index"; then
            index=$cpu_index
        else
            echo "install: $cpu_index cannot be reached, so torch comes from the indexes that pip is configured with"
        fi
    fi ;;
*)
    index=${torch_index%/}
    is_reachable "$index" || fail "no torch at $index (TORCH_INDEX): check the address, or leave it out" ;;
esac

# --no-compile: Python compiles a module when it is first imported; compiling all of torch now takes longer.
set -- -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
[ -z "$index" ] || set -- "$@" --extra-index-url "$index"
echo "install: installing asr-tutorial${extras:+[$extras]} and what it needs into $venv"
"$venv/bin/python" "$@" --editable ".${extras:+[$extras]}"

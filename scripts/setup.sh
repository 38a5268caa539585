#!/bin/sh
# Set up a virtual environment with one extra of this project: setup.sh FOLDER EXTRA.
# Says in one sentence what is missing when something is.
set -eu
folder=$1
extra=$2
python=${PYTHON:-python3}

fail() {
    echo "colossus: $1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "no '$python' on the PATH; install Python 3.11 or newer, or name one with PYTHON=/path/to/python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3.12"
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
[ "$free" -ge 3000 ] || [ -x "$folder/bin/torchrun" ] ||
    fail "only $free MB of disk are free here; setting up needs about 3,000 MB"

if [ ! -x "$folder/bin/python" ]; then
    echo "==> setting up $folder with $("$python" --version)"
    "$python" -m venv "$folder" || fail "'$python -m venv' failed; on Debian and Ubuntu install python3-venv"
fi
"$folder/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$folder was made by an older Python; remove it with 'make clean' and try again"
echo "==> installing the packages of '$extra' (PyTorch among them: about a minute, the first time)"
log=$folder/setup.log
status=$folder/setup.status
{
    "$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off -e ".[$extra]" 2>&1
    echo $? >"$status"
} | tee "$log" | awk '/^Collecting|^Installing collected/ { print "    " substr($0, 1, 90); fflush() }'
if [ "$(cat "$status")" != 0 ]; then
    tail -n 3 "$log" >&2
    if grep -qiE 'connection|resolve|network|timed out|proxy|Could not find a version' "$log"; then
        fail "packages could not be fetched: is there a network, or a package index set for pip? Full log: $log"
    fi
    grep -qi 'no space left' "$log" && fail "the disk is full; setting up needs about 3,000 MB"
    fail "pip failed; full log: $log"
fi
echo "==> ready: $folder/bin/colossus"

#!/usr/bin/env bash
# One server, and a client of each version of the tinker SDK: the newest of every minor version from 0.30 that the package
# index has, or those that are named.
#
#   bash scripts/check_sdk.sh [VERSION ...]
#
# Each client trains, saves, loads, samples, scores, lists, downloads and deletes (scripts/sdk_client.py), and must get the
# very numbers that the installed version gets. Then the tests of the remote backend, of parity and of the interface run with
# that SDK in the place of the installed one. Nothing of this environment is changed: each SDK goes into a directory of its
# own, which is searched before this environment's packages. The status is 1 if one got other numbers, or none, or if tests
# fail with one that pyproject.toml allows.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
python=${PYTHON:-python}
export TINKER_TELEMETRY=0 TINKER_API_KEY=tml-check-of-the-sdk
model=${MODEL:-smollm2-135m-instruct}
port=8793
scratch=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server"; rm -rf "$scratch"' EXIT

versions=("$@")
if [ ${#versions[@]} = 0 ]; then
  mapfile -t versions < <("$python" -m pip index versions tinker 2>/dev/null | sed -n 's/^Available versions: //p' |
    tr -d ' ' | tr ',' '\n' | awk -F. '$1 > 0 || $2 >= 30 { if (!seen[$1 "." $2]++) print }')
fi
PYTHONPATH="$PWD" "$python" -m text2sql serve --base-model "$model" --data "$scratch/data" --port $port 2>"$scratch/log" &
server=$!
until "$python" -c "import httpx; httpx.get('http://127.0.0.1:$port/healthz').raise_for_status()" 2>/dev/null; do
  kill -0 "$server" || { cat "$scratch/log"; exit 1; }
  sleep 1
done

ask() { # a directory with an SDK, or none for the installed one
  PYTHONPATH="$1" timeout 300 "$python" scripts/sdk_client.py "http://127.0.0.1:$port" "$model" 2>"$scratch/errors" | tail -1
}
# Of the numbers alone; the archive is told beside them, since not every version has one.
read_answer() { "$python" -c "import json, sys; answer = json.load(sys.stdin); print(answer['version'], json.dumps(answer['numbers']), answer['archive'], sep='\t')"; }

allowed() { # a version
  "$python" -c 'import sys, tomllib
from packaging.requirements import Requirement
wanted = [Requirement(line) for line in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]]
sys.exit(sys.argv[1] not in next(one.specifier for one in wanted if one.name == "tinker"))' "$1"
}
# Says how the tests went, or why they cannot.
in_process() { # a directory with an SDK
  export PYTHONPATH="$1:$PWD"
  if "$python" -c 'import backends.local.service, backends.server.main, backends.tinker.remote' 2>"$scratch/errors"; then
    # The key here is none of the hosted service's.
    env -u TINKER_API_KEY "$python" -m pytest -q -p no:cacheprovider -m "not slow" tests/backends/tinker tests/invariants/test_parity.py \
      tests/backends/local/test_sdk_signatures.py >"$scratch/tests" 2>&1
    status=$?
    grep "^FAILED\|^ERROR" "$scratch/tests" || true
    echo "  in process: $(tail -1 "$scratch/tests")"
  else
    status=1
    echo "  in process: $(tail -1 "$scratch/errors")"
  fi
  unset PYTHONPATH
  return $status
}

IFS=$'\t' read -r installed expected _ < <(ask "" | read_answer)
echo "installed: tinker $installed"
failed=0
for version in "${versions[@]}"; do
  "$python" -m pip install -q --no-deps --target "$scratch/$version" "tinker==$version" 2>/dev/null
  if IFS=$'\t' read -r asked found archive < <(ask "$scratch/$version" | read_answer) && [ "$asked" = "$version" ] && [ "$found" = "$expected" ]; then
    echo "tinker $version: the same numbers; download: $archive"
  else
    echo "tinker $version: $(tail -1 "$scratch/errors")"
    failed=1
  fi
  if ! in_process "$scratch/$version" && allowed "$version"; then
    failed=1
  fi
done
exit $failed

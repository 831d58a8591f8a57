#!/usr/bin/env bash
# The server against another version of the tinker SDK: the newest that the package index has, unless one is named.
#
#   bash scripts/check_sdk.sh [VERSION]
#
# A version whose wire format the server speaks must pass the contract and parity tests. With any other, a client must end
# with one plain sentence within a minute, and not hang. Nothing of this environment is changed: the SDK goes into a
# separate virtual environment, which sees this one's other packages.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
python=${PYTHON:-python}
export PYTHONPATH="$PWD" TINKER_TELEMETRY=0 TINKER_API_KEY=tml-check-of-the-sdk
scratch=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server"; rm -rf "$scratch"' EXIT

"$python" -m venv "$scratch/venv"
other="$scratch/venv/bin/python"
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
  >"$("$other" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
"$other" -m pip install -q --no-deps --ignore-installed "tinker${1:+==$1}"
version=$("$other" -c 'import importlib.metadata; print(importlib.metadata.version("tinker"))')
spoken=$("$python" -c 'from backends.server.wire import SPOKEN; print(SPOKEN)')
echo "tinker $version; the server speaks $spoken"

if [[ $version == "$spoken".* ]]; then
  "$other" -m pytest -q -m "not slow" tests/backends/server tests/invariants/test_parity.py tests/backends/local/test_sdk_signatures.py
  exit
fi

"$python" -m text2sql.cli serve --base-model "${MODEL:-smollm2-135m-instruct}" --data "$scratch/data" --port 8793 &
server=$!
until "$python" -c 'import httpx; httpx.get("http://127.0.0.1:8793/healthz").raise_for_status()' 2>/dev/null; do
  kill -0 "$server" && sleep 1
done
if timeout 60 "$other" - >"$scratch/said" 2>&1 <<'PYTHON'
import tinker

client = tinker.ServiceClient(base_url="http://127.0.0.1:8793").create_lora_training_client("any", rank=2)
getattr(client, "result", lambda: client)()
PYTHON
then
  echo "A client of $version was let in." && exit 1
fi
grep "This server speaks the wire format of the tinker SDK $spoken, and yours is $version" "$scratch/said" | tail -1 || {
  tail -5 "$scratch/said"
  echo "A client of $version did not learn which version is spoken."
  exit 1
}

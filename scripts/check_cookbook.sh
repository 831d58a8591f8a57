#!/usr/bin/env bash
# Recipes of tinker-cookbook, unmodified, against our server on a tiny model; their logprobs against training's; and our chat
# prompts against its renderers.
#
#   bash scripts/check_cookbook.sh [VENV [RECIPE ...]]
#
# VENV has the cookbook, whose pins conflict with ours; without one it is made, seeing this environment's other packages:
# tinker-cookbook 0.6.1 with --no-deps, and what it imports. The recipes' models and data come from local files of the Hub's
# names (scripts/cookbook_files.py), since the test is of the wire and not of the data. The table that is printed is that of
# docs/server.md. RECIPE is the beginning of a recipe's name: only those are tried. One that is not at its end after
# RECIPE_SECONDS (600) is given up.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/.." && pwd)
python=${PYTHON:-python}
scratch=${SCRATCH:-$(mktemp -d)}
server=
trap '[ -n "$server" ] && kill "$server"; [ -n "${SCRATCH:-}" ] || rm -rf "$scratch"' EXIT

venv=${1:-$scratch/venv}
if [ ! -d "$venv" ]; then
  "$python" -m venv "$venv"
  "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
  "$venv/bin/python" -m pip install -q --no-deps tinker-cookbook==0.6.1 textarena==0.7.4 verifiers==0.1.9.post3
  "$venv/bin/python" -m pip install -q chz blobfile cloudpickle scipy math-verify sympy pylatexenc tml-renderers==0.2.1 \
    aiohttp termcolor tiktoken nltk chess websockets mcp nest-asyncio openai-agents tenacity textual wget
fi
venv=$(cd "$venv" && pwd)

export TINKER_TELEMETRY=0 TINKER_API_KEY=tml-cookbook-check TINKER_BASE_URL=http://127.0.0.1:8794
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
cd "$scratch"
[ -d model ] || PYTHONPATH=$repository "$python" "$here/check_cookbook.py" prepare
models=()
while read -r name; do models+=(--base-model "$name=$scratch/model"); done < <("$python" "$here/check_cookbook.py" models)
PYTHONPATH=$repository "$python" -m text2sql serve "${models[@]}" --data data --port 8794 \
  server.stable_reinforce=reinforce_kl >server.log 2>&1 &
server=$!
until "$python" -c 'import httpx; httpx.get("http://127.0.0.1:8794/healthz").raise_for_status()' 2>/dev/null; do
  kill -0 "$server" || { cat server.log; exit 1; }
  sleep 1
done

failed=0
"$venv/bin/python" "$here/check_cookbook.py" recipes "${@:2}" || failed=1
if [ $# -le 1 ]; then
  "$venv/bin/python" "$here/check_cookbook.py" logprobs runs/sl_basic/checkpoints.jsonl
  # Our reward in its rollouts, and our chat prompts beside its renderers'.
  (cd "$repository" && "$venv/bin/python" -m pytest -q tests/rewards/test_cookbook.py tests/data/test_cookbook_renderers.py)
fi
grep -c Traceback server.log && exit 1
exit $failed

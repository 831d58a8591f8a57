#!/usr/bin/env bash
# Recipes of tinker-cookbook, unmodified, against our server on a tiny model; and their logprobs against training's.
#
#   bash scripts/check_cookbook.sh [VENV]
#
# VENV has the cookbook, whose pins conflict with ours; without one it is made, seeing this environment's other packages:
# tinker-cookbook 0.6.1 with --no-deps, and what it imports. The recipes' data and tokenizer come from local files of the
# Hub's names, since the test is of the wire and not of the data; the model is served under a name that the cookbook knows.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/.." && pwd)
python=${PYTHON:-python}
scratch=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server"; rm -rf "$scratch"' EXIT

venv=${1:-$scratch/venv}
if [ ! -d "$venv" ]; then
  "$python" -m venv "$venv"
  "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
  "$venv/bin/python" -m pip install -q --no-deps tinker-cookbook==0.6.1
  "$venv/bin/python" -m pip install -q chz blobfile cloudpickle scipy math-verify sympy pylatexenc tml-renderers==0.2.1
fi
venv=$(cd "$venv" && pwd)

model=meta-llama/Llama-3.2-1B
export TINKER_TELEMETRY=0 TINKER_API_KEY=tml-cookbook-check TINKER_BASE_URL=http://127.0.0.1:8794
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
cd "$scratch"
PYTHONPATH=$repository "$python" "$here/check_cookbook.py" prepare
PYTHONPATH=$repository "$python" -m text2sql serve --base-model "$model=$scratch/model" --data data --port 8794 &
server=$!
until "$python" -c 'import httpx; httpx.get("http://127.0.0.1:8794/healthz").raise_for_status()' 2>/dev/null; do
  kill -0 "$server" && sleep 1
done

recipe() { # recipe NAME ARGUMENT…: its last lines, and whether it ended well
  echo "== $*"
  "$venv/bin/python" -m "tinker_cookbook.recipes.$1" "model_name=$model" "${@:2}" >"$1.log" 2>&1 || {
    tail -20 "$1.log"
    echo "FAILED: $1" && return 1
  }
  grep -v '^ *$' "$1.log" | tail -4 | cut -c1-160
}

small="batch_size=8 max_length=400 lora_rank=4"
recipe sl_loop log_path=runs/sl_loop $small max_steps=3 save_every=2
recipe sl_loop log_path=runs/sl_loop $small max_steps=5 save_every=2 # goes on from the third
recipe sl_basic log_path=runs/sl_basic lora_rank=4 learning_rate=5e-3 eval_every=2 save_every=2
recipe rl_loop log_path=runs/rl_loop lora_rank=4 batch_size=4 group_size=4 max_tokens=32 loss_fn=importance_sampling
"$venv/bin/python" "$here/check_cookbook.py" logprobs runs/sl_basic/checkpoints.jsonl
(cd "$repository" && "$venv/bin/python" -m pytest -q tests/rewards/test_cookbook.py) # our reward in its rollouts

#!/usr/bin/env bash
# Everything that only a GPU can show: the tests marked `gpu`, the equivalences of the default suite once more on the
# GPU (in float32), then speed and memory of training and sampling beside plain PEFT (with bitsandbytes for NF4) and TRL
# in the same run, on random weights of Llama-3.2-1B's shape, as one table. It takes at most 14 minutes: what takes
# longer than its share is ended and says so.
#
#   bash scripts/gpu_check.sh [MODEL]               # MODEL: a Hub id or directory instead of the random weights
#   bash scripts/gpu_check.sh --carry DIR [--has FILE]   # collect what a machine without a network lacks (gpu_carry.py)
#   bash scripts/gpu_check.sh --from DIR [MODEL]    # there: with what DIR carries
#
# Where PyTorch finds no CUDA GPU it says so and ends without an error.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
started=$PWD
cd "$here/.."
python=${PYTHON:-python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
if [[ ${1:-} == --carry ]]; then
  shift
  [[ -n ${1:-} ]] || { echo "--carry needs the directory to collect in." >&2; exit 2; }
  directory=$(cd "$started" && mkdir -p "$1" && cd "$1" && pwd) || exit 2
  "$python" scripts/gpu_carry.py "$directory" "${@:2}"
  exit
fi
if [[ ${1:-} == --from ]]; then
  carried=$(cd "$started" && cd "${2:-}" 2>/dev/null && pwd) && [[ -d $carried/wheels ]] || {
    echo "--from: ${2:-} holds no wheels; make it with \`bash scripts/gpu_check.sh --carry DIR\`." >&2
    exit 2
  }
  shift 2
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$out/site" "$carried"/wheels/*.whl || exit 1
  export PYTHONPATH="$out/site:$PYTHONPATH" TEXT2SQL_DATA="$carried/data" TEXT2SQL_TOKENIZER="$carried/tokenizer"
fi
if ! "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
  echo "No CUDA GPU that PyTorch can use: nothing to check here. (\`nvidia-smi\` and the build of PyTorch say why.)"
  exit 0
fi
model=(--shape llama-3.2-1b --layers 16)
[[ -z ${1:-} ]] || model=(--model "$1")

run() { # run NAME SECONDS COMMAND…: keep the output, remember how it ended
  local name=$1 seconds=$2 start=$SECONDS
  shift 2
  echo "== $name"
  timeout "$seconds" "$@" 2>&1 | tee "$out/$name.txt"
  local status=${PIPESTATUS[0]} ended=FAILED
  [[ $status != 0 ]] || ended=ok
  [[ $status != 124 ]] || ended=ENDED
  printf '%-14s %-8s %6d s\n' "$name" "$ended" $((SECONDS - start)) >>"$out/table"
  [[ $status == 0 ]] || failed=1
}

failed=0
run tests 150 "$python" -m pytest -q -m gpu tests
run equalities 150 env TEXT2SQL_TEST_DEVICE=cuda "$python" -m pytest -q \
  tests/invariants/test_training_equals_reference.py tests/invariants/test_training_equivalences.py \
  tests/backends/local/test_losses.py tests/backends/local/test_sampling.py \
  tests/backends/local/test_checkpoints.py tests/backends/local/test_faults.py
first=${CUDA_VISIBLE_DEVICES:-0}
export CUDA_VISIBLE_DEVICES=${first%%,*} # Hugging Face's Trainer would take them all
gpu=(--device cuda --dtype bfloat16 "${model[@]}" --rounds 2)
run training-bf16 140 "$python" scripts/bench_train.py "${gpu[@]}" --batch 128
run training-nf4 160 "$python" scripts/bench_train.py "${gpu[@]}" --batch 128 --nf4
run decoding-bf16 120 "$python" scripts/bench_generate.py "${gpu[@]}" --prompts 256
run decoding-nf4 120 "$python" scripts/bench_generate.py "${gpu[@]}" --prompts 256 --nf4
echo
"$python" -c 'import torch; d = torch.cuda.get_device_properties(0); print(f"{d.name}, {d.total_memory / 1e9:.0f} GB, PyTorch {torch.__version__}")'
cat "$out/table"
exit $failed

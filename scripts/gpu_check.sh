#!/usr/bin/env bash
# Everything that only a GPU can show: the tests marked `gpu`, the equivalences of the default suite once more on the
# GPU (in float32), then the two benchmarks at a GPU's settings and on one GPU, as one table.
#
#   bash scripts/gpu_check.sh [MODEL]      # MODEL: smollm2-135m-instruct unless given; any Hub id or directory
#
# Where PyTorch finds no CUDA GPU it says so and ends without an error.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
python=${PYTHON:-python}
model=${1:-smollm2-135m-instruct}
if ! "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
  echo "No CUDA GPU that PyTorch can use: nothing to check here. (\`nvidia-smi\` and the build of PyTorch say why.)"
  exit 0
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

run() { # run NAME COMMAND…: keep the output, remember how it ended
  local name=$1 start=$SECONDS
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$out/$name.txt"
  local status=${PIPESTATUS[0]}
  printf '%-12s %-8s %6d s\n' "$name" "$([[ $status == 0 ]] && echo ok || echo FAILED)" $((SECONDS - start)) >>"$out/table"
  [[ $status == 0 ]] || failed=1
}

failed=0
run tests "$python" -m pytest -q -m gpu tests
run equalities env TEXT2SQL_TEST_DEVICE=cuda "$python" -m pytest -q tests/invariants/test_training_equals_reference.py \
  tests/invariants/test_training_equivalences.py tests/backends/local/test_losses.py tests/backends/local/test_sampling.py \
  tests/backends/local/test_checkpoints.py tests/backends/local/test_faults.py
first=${CUDA_VISIBLE_DEVICES:-0}
export CUDA_VISIBLE_DEVICES=${first%%,*} # Hugging Face's Trainer would take them all
run training "$python" scripts/bench_train.py --device cuda --dtype bfloat16 --model "$model" --batch 128 --rounds 3
run decoding "$python" scripts/bench_generate.py --device cuda --dtype bfloat16 --model "$model" --prompts 256
echo
"$python" -c 'import torch; d = torch.cuda.get_device_properties(0); print(f"{d.name}, {d.total_memory / 1e9:.0f} GB, PyTorch {torch.__version__}")'
cat "$out/table"
exit $failed

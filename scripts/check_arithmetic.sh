#!/usr/bin/env bash
# The exact comparisons under other arithmetic: narrower vector instructions, another matrix library's kernels, one thread.
#
#   bash scripts/check_arithmetic.sh [PYTEST ARGUMENT ...]
#
# A test that compares two numbers for equality must hold on every processor: both sides must compute the same products
# of the same sizes. What holds on one machine by chance of its rounding fails here. Each line of the summary is one
# setting; the exit status is 1 if any of them failed.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
export PYTHONPATH="$PWD" TINKER_TELEMETRY=0

# What compares for equality: the same step in other parts or processes' order, after a checkpoint, after a kill, through
# the server, in other batches.
tests=(
  tests/invariants/test_training_equivalences.py
  tests/invariants/test_parity.py
  tests/invariants/test_killed_run.py
  tests/backends/tinker/test_runs.py
  tests/backends/tinker/test_remote_start.py
  tests/backends/local/test_sampling.py
  tests/backends/local/test_service.py
  tests/backends/server/test_order.py
)
settings=(
  "ONEDNN_MAX_CPU_ISA=AVX2"
  "ATEN_CPU_CAPABILITY=avx2"
  "ATEN_CPU_CAPABILITY=default"
  "MKL_CBWR=COMPATIBLE"
)

failed=0
summary=()
for setting in "${settings[@]}"; do
  for threads in 1 2; do
    name="$setting, $threads thread(s)"
    echo "== $name"
    if env "$setting" OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads \
      "$python" -m pytest -q -m "not slow and not gpu and not tinker_api" "${tests[@]}" "$@"; then
      summary+=("passed  $name")
    else
      summary+=("FAILED  $name")
      failed=1
    fi
  done
done
printf '%s\n' "" "${summary[@]}"
exit $failed

#!/usr/bin/env bash
# The exact comparisons under other arithmetic: narrower vector instructions, another matrix library's kernels, one thread.
#
#   bash scripts/check_arithmetic.sh [PYTEST ARGUMENT ...]
#
# A test that compares two numbers for equality must hold on every processor: both sides must compute the same products
# of the same sizes. What holds on one machine by chance of its rounding fails here. Each line of the summary is one
# setting; the exit status is 1 if any of them failed. A setting takes one to two minutes on two quiet cores. Settings that
# change nothing on a processor (its widest instructions by name) are left out.
#
# Left out are tests that kill processes: what they compare after a kill is compared here after a checkpoint, and they are
# most of the time.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
export PYTHONPATH="$PWD" TINKER_TELEMETRY=0

# What compares for equality: the same step in other parts or processes' order, after a checkpoint, through the server, in
# other batches, with shared beginnings, with packed weights; whole runs in either place.
tests=(
  tests/invariants/test_training_equivalences.py
  tests/invariants/test_parity.py
  tests/invariants/test_shared_prefixes.py
  tests/backends/tinker/test_runs.py
  tests/backends/tinker/test_remote_start.py
  tests/backends/local/test_sampling.py
  tests/backends/local/test_service.py
  tests/backends/local/test_frozen_products.py
  tests/backends/local/test_prepacked_weights.py
  tests/backends/server/test_order.py
)
unlike="not kill and not restarted"
# The variable, its value, and the widest instructions of a processor on which that is what it does anyway.
settings=(
  "ONEDNN_MAX_CPU_ISA=AVX2 AVX2"
  "ONEDNN_MAX_CPU_ISA=SSE41 DEFAULT"
  "ATEN_CPU_CAPABILITY=avx2 AVX2"
  "ATEN_CPU_CAPABILITY=default DEFAULT"
  "MKL_CBWR=COMPATIBLE none"
)

widest=$("$python" -c "import torch; print(torch.backends.cpu.get_cpu_capability())")
failed=0
summary=()
for line in "${settings[@]}"; do
  read -r setting unchanged <<<"$line"
  if [ "$unchanged" = "$widest" ]; then
    summary+=("nothing $setting: this processor has $widest")
    continue
  fi
  for threads in 1 2; do
    name="$setting, $threads thread(s)"
    echo "== $name"
    if env "$setting" OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads \
      "$python" -m pytest -q -m "not slow and not gpu and not tinker_api" -k "$unlike" "${tests[@]}" "$@"; then
      summary+=("passed  $name")
    else
      summary+=("FAILED  $name")
      failed=1
    fi
  done
done
printf '%s\n' "" "${summary[@]}"
exit $failed

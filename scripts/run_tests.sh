#!/usr/bin/env bash
# The default test suite, from a fresh machine: sets the environment up with the test extra, then runs pytest.
#
#   bash scripts/run_tests.sh [PYTEST ARGUMENT ...]
#
#   bash scripts/run_tests.sh -m slow           # tests of minutes: the real small model
#   bash scripts/run_tests.sh -m gpu            # needs a CUDA GPU
#   bash scripts/run_tests.sh -m tinker_api     # needs TINKER_API_KEY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bash "$here/setup_environment.sh" test
venv=$(cd "${TEXT2SQL_VENV:-$here/../.venv}" && pwd)
cd "$here/.."
if [[ " $* " != *" -m "* ]]; then
  # A test keeps little more than one core busy, so that as many files run at once as there are cores, four at most;
  # threads that wait give theirs to the other processes.
  export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
  workers=$("$venv/bin/python" -c "import os; print(min(4, len(os.sched_getaffinity(0))))")
  set -- -m "not slow and not gpu and not tinker_api" --numprocesses "$workers" --dist loadfile "$@"
fi
exec "$venv/bin/python" -m pytest "$@"

#!/usr/bin/env bash
# From a fresh machine to a before/after number: sets the environment up if need be, then runs one configuration.
#
#   bash scripts/run_finetuning.sh [CONFIG] [key=value ...]
#
#   bash scripts/run_finetuning.sh                                            # configs/quickstart.yaml
#   bash scripts/run_finetuning.sh configs/llama-3.2-1b.yaml backend=tinker
#
# Run it again to go on after an interruption. On a finished run it asks what to do; on_existing=resume|overwrite|new|fail
# answers beforehand.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bash "$here/setup_environment.sh"
venv=${TEXT2SQL_VENV:-$here/../.venv}
if [ $# -eq 0 ]; then
  set -- quickstart
fi
exec "$venv/bin/text2sql" run "$@"

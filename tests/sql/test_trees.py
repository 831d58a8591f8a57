"""The trees' library as it must be installed."""

from __future__ import annotations

import subprocess
import sys


def test_a_compiled_sqlglot_is_refused_with_the_way_out() -> None:
    # Its classes cannot be extended, so that every pair would be undecided.
    program = (
        "import sqlglot.generator; sqlglot.generator.__file__ = 'generator.so'\n"
        "import sys\n"
        "sys.argv = 'text2sql match --gold SELECT --predicted SELECT --schema'.split() + ['CREATE TABLE t (a INT)']\n"
        "from text2sql.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pip uninstall sqlglotc" in done.stderr.replace("\n", " ")

"""The versions of the SDK that pyproject.toml allows are those of the table that `scripts/check_sdk.sh` was run for."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from tests.conftest import REPOSITORY


def test_the_pin_is_as_wide_as_the_table() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (pin,) = (needed for line in project["dependencies"] if (needed := Requirement(line)).name == "tinker")
    page = (REPOSITORY / "docs" / "server.md").read_text()
    rows = re.findall(r"^\| tinker ([\d.]+) \| .*\| (yes|no)\b[^|]*\|$", page, re.MULTILINE)
    assert len(rows) > 2 and {said for _, said in rows} == {"yes", "no"}
    assert {version for version, said in rows if said == "yes"} == {v for v, _ in rows if v in pin.specifier}
    tested = re.search(r"^tinker==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert tested and (tested[1], "yes") in rows

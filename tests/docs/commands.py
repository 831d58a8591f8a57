"""What pages say to type, and whether it can be typed: the parser of the command line, the schema, the files."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer

from tests.support.repository import REPOSITORY
from text2sql.cli import app
from text2sql.cli.arguments import load
from text2sql.config.load import apply_override
from text2sql.sweep.plan import plan_sweep

# Programs of others: their arguments are not checked here.
FOREIGN = {
    ".venv/bin/pre-commit",
    "cd",
    "cp",
    "curl",
    "docker",
    "echo",
    "export",
    "git",
    "mkdir",
    "ollama",
    "pip",
    "pipx",
    "python3",
    "ray",
    "source",
    "tar",
    "scontrol",
    "srun",
    "tinker",
    "uv",
    "vllm",
}
ENDS = {"&", "&&", "|", ";", ">", "<", ">>"}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|\n\n)((?: {4}[^\n]*(?:\n|$))+)")
UsageError = typer.BadParameter.__mro__[1]


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each block of code in a page; ``""`` where no language is named."""
    for match in FENCE.finditer(page):
        yield match[2], match[3]
    for match in INDENTED.finditer(FENCE.sub("", page)):
        yield "", match[1]


def command_lines(block: str) -> Iterator[list[str]]:
    """The commands of a block, as words, without variables set before them, comments, and what follows a pipe."""
    for line in re.sub(r"\\\n *", " ", block).splitlines():
        reader = shlex.shlex(re.sub(r"\[[^\]]*\.\.\.\]|…", "", line.strip()), posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        words: list[str] = []
        for word in [*reader, ";"]:
            if word not in ENDS:
                words.append(word)
                continue
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words:
                yield words
            words = []
            if word in ("|", ">", "<", ">>"):
                break


def check_command(words: list[str]) -> None:
    """Raises where a command that a page gives could not be typed: no such program, command, option, key or file."""
    program, *arguments = words
    if "-m text2sql" in " ".join(words):
        _check_text2sql(words[words.index("text2sql") + 1 :])
    elif program.removeprefix(".venv/bin/") == "text2sql":
        _check_text2sql(arguments)
    elif program in ("bash", "python"):
        _check_script(arguments)
    elif program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in arguments if "=" not in word} <= targets, words
    elif program == "pytest":
        for word in arguments:
            assert "/" not in word or (REPOSITORY / word.partition("::")[0]).exists(), word
    else:
        assert program in FOREIGN, f"What is {program}?"


def _check_script(words: list[str]) -> None:
    script, *arguments = words
    if script in ("-c", "-m"):
        return
    assert (REPOSITORY / script).is_file(), script
    if script == "scripts/setup_environment.sh":
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(arguments) <= {*extras, "EXTRA"}, arguments
    elif script == "scripts/run_finetuning.sh":
        _check_text2sql(["run", *arguments])
    elif script.endswith(".py"):
        for option in (word for word in arguments if word.startswith("--")):
            assert f'"{option}"' in (REPOSITORY / script).read_text(), f"{script} has no option {option}"


@cache
def command_line() -> Any:
    """The command line as click has it."""
    return typer.main.get_command(app)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and the words after its name."""
    command, rest = command_line(), list(words)
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"There is no command `text2sql {' '.join(words)}`"
        command = command.commands[rest.pop(0)]
    return command, rest


def _check_text2sql(words: list[str]) -> None:
    command, arguments = find_command(words)
    if hasattr(command, "commands"):
        return
    try:
        given = command.make_context(command.name, arguments).params
    except UsageError as error:
        raise AssertionError(f"text2sql {' '.join(words)}: {error}") from error
    overrides = [word for word in given.get("overrides") or () if word != "KEY=VALUE"]
    if command.name == "serve":
        _check_server(overrides)
    elif command.name == "sweep":
        plan_sweep(given["config"], overrides)
    elif "overrides" in given:
        config = str(given.get("config") or given.get("target") or given["extends"])
        # A placeholder, a run or a file of answers takes overrides of any configuration.
        stands_in = config.isupper() or config.startswith("runs/") or re.search(r"\.(jsonl?|csv|parquet|sql)$", config)
        load("quickstart" if stands_in else config, overrides)


def _check_server(overrides: list[str]) -> None:
    from backends.server.settings import ServerSettings

    values: dict[str, Any] = {}
    for override in overrides:
        apply_override(values, override)
    ServerSettings(base_models={"any": "any"}, data=REPOSITORY, **values)


def every_command(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each command's full name with the command, groups included."""
    command = command or command_line()
    yield " ".join(("text2sql", *path)), command
    for name, part in getattr(command, "commands", {}).items():
        yield from every_command(part, (*path, name))

"""Every command that the pages, the configurations and the help texts name exists, with its options and keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from tests.docs.commands import blocks, check_command, command_lines, every_command, find_command
from tests.support.repository import REPOSITORY, repository_files
from text2sql.cli.examples import EXAMPLES
from text2sql.config import Config, find_config
from text2sql.config.json_schema import SCHEMA_FILE, config_schema, modeline
from text2sql.errors import UserError

PAGES = repository_files("*.md")
SPAN = re.compile(r"`([^`\n]+)`")
KEY = re.compile(r"([a-z_]+(?:\.[a-z_0-9]+)+)(?:=|: |$)")


def read(page: str) -> str:
    return (REPOSITORY / page).read_text()


def spans(page: str) -> list[str]:
    """What a page's prose sets as code."""
    return SPAN.findall(re.sub(r"^( *)```.*?^\1```", "", read(page), flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_can_be_typed(page: str) -> None:
    for language, block in blocks(read(page)):
        if language == "bash":
            for words in command_lines(block):
                check_command(words)
        elif language == "":
            # Without a language a block may also hold output: what begins as one of our commands is one.
            for start in re.finditer(r"^ *(?=(?:[A-Z_0-9]+=\S+ )*(?:\.venv/bin/)?text2sql [a-z])", block, re.MULTILINE):
                check_command(next(command_lines(block[start.end() :])))


@pytest.mark.parametrize(
    "wrong",
    [
        "text2sql rum quickstart",
        "text2sql run quickstart --fast",
        "text2sql run no-such-config",
        "text2sql run quickstart training.batchsize=3",
        "text2sql run quickstart training.batch_size=none",
        "text2sql serve --base-model m limits.no_such_limit=3",
        "bash scripts/no_such_script.sh",
        "bash scripts/run_finetuning.sh quickstart sed=1",
        "bash scripts/setup_environment.sh no-such-extra",
        "python scripts/bench_train.py --no-such-option",
        "make no-such-target",
        "frobnicate",
    ],
)
def test_a_command_that_cannot_be_typed_is_found(wrong: str) -> None:
    (words,) = command_lines(wrong)
    with pytest.raises((AssertionError, UserError, ValidationError)):
        check_command(words)


@pytest.mark.parametrize("page", PAGES)
def test_commands_named_in_prose_exist(page: str) -> None:
    for span in spans(page):
        if re.match(r"text2sql [a-z]", span):
            check_mention(span)


def check_mention(text: str) -> None:
    """`text2sql config show|validate` and the like: each command exists, and has the options."""
    words = text.removeprefix("text2sql ").split()
    names = [word for word in words if re.fullmatch(r"[a-z|]+", word)]
    for name in names[0].split("|"):
        command, _ = find_command([name])
        if hasattr(command, "commands") and len(names) > 1:
            for part in names[1].split("|"):
                command, _ = find_command([name, part])
        options = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            assert not word.startswith("--") or word.partition("=")[0] in options, text


@pytest.mark.parametrize("page", PAGES)
def test_keys_named_in_prose_are_keys(page: str) -> None:
    for span in spans(page):
        match = KEY.match(span)
        if match and match[1].partition(".")[0] in Config.model_fields and not match[1].endswith(".py"):
            assert is_key(match[1]), f"{page}: {span}"


def is_key(key: str) -> bool:
    """Whether a dotted name is a key of the configuration."""
    model = Config
    for name in key.split("."):
        field = getattr(model, "model_fields", {}).get(name)
        if field is None:
            return False
        # Of `Section | None` the section.
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return True


def test_sections_given_as_yaml_are_valid() -> None:
    found = [block for page in PAGES for language, block in blocks(read(page)) if language == "yaml"]
    assert found
    for block in found:
        for section, values in yaml.safe_load(block).items():
            assert all(is_key(f"{section}.{key}") for key in values), block


@pytest.mark.parametrize("file", [file for file in repository_files("*.yaml") if file.startswith("configs/")])
def test_the_command_in_the_head_of_a_configuration_runs_it(file: str) -> None:
    head = [line for line in read(file).splitlines() if line.startswith("# text2sql run")]
    assert head, file
    for line in head:
        # What follows in brackets is a remark.
        (words,) = command_lines(line.removeprefix("# ").partition("   ")[0])
        check_command(words)
        assert find_config(words[2]).resolve() == REPOSITORY / file


@pytest.mark.parametrize("name", [name for name, _ in every_command()])
def test_help_names_what_exists(name: str) -> None:
    command = dict(every_command())[name]
    texts = [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
    assert texts[0], f"{name} has no help"
    for text in texts:
        for span in SPAN.findall(text):
            if span.startswith("text2sql "):
                check_mention(span)
        for path in re.findall(r"\b(?:configs|docs|scripts)/[\w./-]+\w", text):
            assert (REPOSITORY / path).exists(), path
        for key in re.findall(r"(?<![\w./`-])([a-z_]+\.[a-z_.]+)=", text):
            assert key in ("key.sub",) or is_key(key), key


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_of_a_help_can_be_typed(name: str) -> None:
    for example in EXAMPLES[name]:
        assert example.startswith(f"text2sql {name}")
        check_command(next(command_lines(example)))


def test_the_schema_for_editors_is_that_of_the_program() -> None:
    written = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert written == config_schema(), "Write it again: text2sql config schema > configs/schema.json"
    for file in repository_files("configs/*.yaml"):
        assert f"\n{modeline(Path(SCHEMA_FILE.name))}\n" in read(file), file

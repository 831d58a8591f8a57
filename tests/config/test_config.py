"""Configurations: defaults, files, overrides, and what is said of a wrong one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import REPOSITORY
from tests.support.config_files import write_config
from text2sql.config import Config, dump_config, find_config, load_config
from text2sql.config.yaml import dump_yaml, read_yaml
from text2sql.errors import UserError

SHIPPED = sorted((REPOSITORY / "configs").glob("*.yaml"))


# What is right


def test_the_defaults_are_those_that_the_design_fixes() -> None:
    config = load_config(None)
    training = config.training
    assert (training.beta1, training.beta2, training.eps) == (0.9, 0.95, 1e-12)
    assert (training.weight_decay, training.grad_clip_norm) == (0, 0)
    assert (config.lora.rank, config.evaluation.temperature, config.backend) == (32, 0, "local")
    assert config.lora.train_attn and config.lora.train_mlp and config.lora.train_unembed


def test_overrides_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = write_config(tmp_path, "seed: 3\ntraining: {batch_size: 8, epochs: 2}\n")
    config = load_config(file, ["training.epochs=5", "lora.rank=4"])
    assert (config.seed, config.training.batch_size, config.training.epochs) == (3, 8, 5)
    assert (config.lora.rank, config.data.test_size) == (4, Config().data.test_size)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.learning_rate=5e-4", 5e-4),
        ("training.learning_rate=.001", 1e-3),
        ("training.learning_rate=auto", "auto"),
        ("training.checkpoint_ttl_days=null", None),
        ("training.max_steps=7", 7),
        ('evaluation.stop=["\\n\\n", ";"]', ["\n\n", ";"]),
        ("evaluation.stop=[]", []),
        ("evaluation.workers=ray", "ray"),
        ("evaluation.workers=some.module:open", "some.module:open"),
        ("evaluation.workers='3'", 3),
        ("lora.train_mlp=false", False),
        ("lora.train_mlp=no", False),
        # YAML 1.1 reads true.
        ("local.gradient_checkpointing=on", "on"),
        # YAML 1.1 reads eight.
        ("seed=010", 10),
        # YAML 1.1 reads a date.
        ("name=2024-01-01", "2024-01-01"),
        ("name=2024", "2024"),
        ("data.columns.answer=sql", None),
        ("fake.default_answer= SELECT a=b", "SELECT a=b"),
    ],
)
def test_overrides_are_read_as_what_they_mean(override: str, value: Any) -> None:
    if override.startswith("data.columns"):
        assert load_config(None, ["data.source=x.jsonl", override]).data.columns == {"answer": "sql"}
        return
    found: Any = load_config(None, [override])
    for part in override.partition("=")[0].split("."):
        found = getattr(found, part)
    assert found == value and type(found) is type(value)


def test_numbers_in_a_file_are_read_alike(tmp_path: Path) -> None:
    assert load_config(write_config(tmp_path, "training:\n  learning_rate: 5e-4\n")).training.learning_rate == 5e-4


def test_an_empty_file_and_an_empty_section_mean_the_defaults(tmp_path: Path) -> None:
    assert load_config(write_config(tmp_path, "# nothing yet\n")) == Config()
    file = write_config(tmp_path, "training:\n  # epochs: 3\ndata:\n")
    assert load_config(file) == Config()
    assert load_config(file, ["training.epochs=3"]).training.epochs == 3


def test_an_override_makes_the_section_that_is_null() -> None:
    needed = ["data.validation_size=5", "training.validate_every=1"]
    stopping = load_config(None, ["training.early_stopping=null", "training.early_stopping.patience=7", *needed])
    assert stopping.training.early_stopping is not None
    assert stopping.training.early_stopping.patience == 7


def test_paths_may_begin_with_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("PLACE", "/scratch")
    assert load_config(None, ["output_dir=~/runs/a"]).directory == Path("/home/ada/runs/a")
    assert load_config(None, ["output_dir=$PLACE/a"]).directory == Path("/scratch/a")
    assert load_config(None, ["name=b"]).directory == Path("runs/b")


def test_the_model_of_the_tinker_api_may_have_another_name() -> None:
    overrides = ["base_model=here", "tinker.base_model=there"]
    assert load_config(None, overrides).trained_model == "here"
    assert load_config(None, [*overrides, "backend=tinker"]).trained_model == "there"


NUMBERS = st.floats(min_value=1e-12, max_value=1e3, allow_nan=False)


@given(st.integers(1, 10**6), NUMBERS, st.lists(st.text(min_size=1), max_size=4), st.none() | st.integers(1, 99))
def test_any_value_written_as_an_override_comes_back(size: int, rate: float, stop: list[str], limit: Any) -> None:
    config = load_config(
        None,
        [
            f"training.batch_size={size}",
            f"training.learning_rate={rate!r}",
            f"evaluation.stop={dump_yaml(stop)}",
            f"data.limit={'null' if limit is None else limit}",
        ],
    )
    assert (config.training.batch_size, config.training.learning_rate) == (size, rate)
    assert (config.evaluation.stop, config.data.limit) == (stop, limit)


@given(st.text())
def test_any_text_after_the_equals_sign_is_a_value_or_an_error_of_one_line(text: str) -> None:
    try:
        load_config(None, [f"base_model={text}"])
    except UserError as error:
        assert "base_model" in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


# The machine may be busy.
@settings(deadline=None)
@given(JSON)
def test_yaml_comes_back_as_it_was_written(value: Any) -> None:
    assert read_yaml(dump_yaml(value)) == value


@settings(deadline=None)
@given(st.text(), st.floats(0, 10), st.lists(st.text(min_size=1)))
def test_a_dumped_configuration_loads_to_the_same(base_model: str, temperature: float, stop: list[str]) -> None:
    evaluation = {"temperature": temperature, "stop": stop}
    config = Config.model_validate(
        {"base_model": base_model, "evaluation": evaluation, "fake": {"answers": {"5e-4": "on"}}}
    )
    assert Config.model_validate(read_yaml(dump_config(config))) == config


def test_a_dump_writes_every_default_out() -> None:
    dumped = read_yaml(dump_config(Config()))
    assert dumped == Config().model_dump(mode="json")
    assert set(dumped["training"]) == set(type(Config().training).model_fields)


# What is shipped


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid_and_begins_with_its_command(path: Path) -> None:
    config = load_config(str(path))
    assert config.name == path.stem
    first = path.read_text(encoding="utf-8").splitlines()[0]
    command = re.match(r"# text2sql run (configs/\S+\.yaml)((?: [a-z_.]+=\S+)*)(?:  .*)?$", first)
    assert command and command[1] == f"configs/{path.name}"
    load_config(str(path), command[2].split())


def test_the_full_job_changes_backend_by_one_word() -> None:
    for backend in ("local", "tinker"):
        assert load_config("llama-3.2-1b", [f"backend={backend}"]).backend == backend


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml"])
def test_shipped_files_are_found_by_name_from_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(name).read_bytes() == (REPOSITORY / "configs" / "quickstart.yaml").read_bytes()


def test_every_key_says_what_it_means() -> None:
    def undescribed(model: Any, path: str) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            parts = [field.annotation, *get_args(field.annotation)]
            section = next((part for part in parts if isinstance(part, type) and hasattr(part, "model_fields")), None)
            if section is not None:
                found += undescribed(section, f"{path}{name}.")
            elif not field.description:
                found.append(path + name)
        return found

    assert undescribed(Config, "") == []

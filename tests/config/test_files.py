"""What a configuration file takes from others and from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.config import Config, dump_config, load_config
from text2sql.config.files import escape_variables, fill_variables, unescape_variables
from text2sql.config.new import write_config
from text2sql.config.yaml import read_yaml
from text2sql.errors import UserError


def _write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(text)


def _error(file: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(str(file), overrides)
    return str(caught.value)


def test_a_file_adds_to_another_section_by_section(tmp_path: Path) -> None:
    _write(
        tmp_path,
        first="name: first\nlora: {rank: 8}\ntraining: {epochs: 2, batch_size: 4}\nevaluation: {stop: [a, b]}\n",
        second="extends: first.yaml\ntraining: {epochs: 5}\nevaluation: {stop: [c]}\n",
        third="extends: second.yaml\nname: third\nlora:\n",
    )
    config = load_config(str(tmp_path / "third.yaml"), ["seed=3"])
    assert (config.name, config.seed, config.lora.rank) == ("third", 3, 8)
    assert (config.training.epochs, config.training.batch_size, config.evaluation.stop) == (5, 4, ["c"])
    # What is saved says it all.
    assert "extends" not in dump_config(config)


def test_a_shipped_configuration_is_extended_by_name(tmp_path: Path) -> None:
    _write(tmp_path, mine="extends: quickstart\nseed: 4\n")
    assert load_config(str(tmp_path / "mine.yaml")) == load_config("quickstart", ["seed=4"])


def test_a_wrong_key_is_of_the_file_that_holds_it(tmp_path: Path) -> None:
    _write(
        tmp_path, first="training: {epochs: 0}\n", second="extends: first.yaml\nlora: {rank: 0}\n", odd="extends: [a]\n"
    )
    lines = _error(tmp_path / "second.yaml").splitlines()
    assert {line.partition(": ")[0] for line in lines} == {
        str(tmp_path / name) for name in ("first.yaml", "second.yaml")
    }
    assert any("first.yaml: training.epochs" in line for line in lines)
    assert "extends must be the name of one file" in _error(tmp_path / "odd.yaml")


def test_circles_and_missing_files_are_named(tmp_path: Path) -> None:
    _write(tmp_path, a="extends: b.yaml\n", b="extends: ./a.yaml\n", c="extends: quickstrat\n")
    assert "extends goes in a circle" in _error(tmp_path / "a.yaml")
    assert 'c.yaml: extends: There is no configuration file quickstrat. Did you mean "quickstart"?' in _error(
        tmp_path / "c.yaml"
    )


def test_variables_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_ROOT", "/data")
    monkeypatch.setenv("BATCH", "16")
    monkeypatch.delenv("RANK", raising=False)
    _write(
        tmp_path,
        a="data: {source: gretel, path: '${DATA_ROOT}/x'}\ntraining: {batch_size: '${BATCH}'}\n"
        "lora: {rank: '${RANK:-4}'}\nevaluation: {stop: ['$${BATCH}', '$5']}\n",
        b="data: {mix: [{source: '${NOT_SET_ANYWHERE}'}]}\n",
    )
    config = load_config(str(tmp_path / "a.yaml"))
    assert config.data.path == "/data/x" and config.training.batch_size == 16 and config.lora.rank == 4
    assert config.evaluation.stop == ["${BATCH}", "$5"]
    message = _error(tmp_path / "b.yaml")
    assert "b.yaml: data.mix.source: the environment variable NOT_SET_ANYWHERE is not set" in message


def test_variables_in_overrides_are_those_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_ROOT", "/data")
    monkeypatch.setenv("BATCH", "16")
    overrides = ["data.source=spider", "data.path=${DATA_ROOT}/x", "training.batch_size=${BATCH}"]
    overrides.append("evaluation.stop=['$${BATCH}']")
    config = load_config(None, overrides)
    assert (config.data.path, config.training.batch_size) == ("/data/x", 16)
    assert config.evaluation.stop == ["${BATCH}"]
    with pytest.raises(UserError, match="environment variable UNSET_ROOT is not set") as told:
        load_config(None, ["data.path=${UNSET_ROOT}"])
    assert str(told.value).startswith('override "data.path=${UNSET_ROOT}": ')
    # In a new file a variable stays one.
    file = tmp_path / "new.yaml"
    write_config(file, "quickstart", overrides)
    assert load_config(str(file)).data.path == "/data/x"
    monkeypatch.setenv("DATA_ROOT", "/elsewhere")
    assert load_config(str(file)).data.path == "/elsewhere/x"


def test_what_is_no_configuration_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert _error(tmp_path / "run").endswith("is a directory, not a configuration file.")
    (tmp_path / "run" / "config.yaml").touch()
    assert "is the directory of a run; its configuration is" in _error(tmp_path / "run")
    for text in ("", " \n\n"):
        _write(tmp_path, empty=text)
        assert "empty.yaml is empty" in _error(tmp_path / "empty.yaml")
    _write(tmp_path, broken="name: [a\n")
    assert "unicode string" not in _error(tmp_path / "broken.yaml")


@given(st.text(alphabet="${}:-aB", max_size=12))
def test_a_saved_text_is_the_text(text: str) -> None:
    config = Config.model_validate({"evaluation": {"stop": [text or "x"]}})
    saved = read_yaml(dump_config(config))
    assert isinstance(saved, dict)
    filled = fill_variables(saved["evaluation"], "saved")
    assert isinstance(filled, dict) and filled["stop"] == config.evaluation.stop
    assert unescape_variables(escape_variables(text)) == text


def test_a_new_file_extends_and_overwrites_nothing(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "my run.yaml"
    write_config(file, "quickstart", ["training.epochs=3", "data.limit=null"])
    config = load_config(str(file))
    assert config.name == "my-run" and config.training.epochs == 3 and config.data.limit is None
    assert config.data.test_size == load_config("quickstart").data.test_size
    before = file.read_bytes()
    for name, extends, override, message in (
        (file, "quickstart", "seed=1", "is there already"),
        (tmp_path / "a.yaml", "quickstart", "sed=1", 'Did you mean "seed"'),
        (tmp_path / "a.yaml", "none", "seed=1", "no configuration file none"),
        (tmp_path / "a.txt", "quickstart", "seed=1", "is a .yaml file"),
    ):
        with pytest.raises(UserError, match=message):
            write_config(name, extends, [override])
    assert file.read_bytes() == before and not list(tmp_path.glob("a.*"))

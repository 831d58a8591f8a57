"""Configuration files that are refused: one sentence, with the key, the value and what was meant."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from backends.losses import LOSSES, Loss
from backends.options import LOCAL_OPTIONS, LocalOptions, only_local
from tests.support.config_files import write_config
from text2sql.config import EndpointConfig, expand_user, load_config
from text2sql.config.json_schema import config_schema
from text2sql.config.load import load_section
from text2sql.config.wording import PATTERNS
from text2sql.config.yaml import read_yaml
from text2sql.errors import UserError


def _error(file: str | None, *overrides: str) -> str:
    with pytest.raises(UserError) as raised:
        load_config(file, overrides)
    return str(raised.value)


@pytest.mark.parametrize(
    ("override", "unknown", "meant"),
    [
        ("sed=1", "sed", "seed"),
        ("traning.epochs=1", "traning", "training"),
        ("training.batchsize=8", "training.batchsize", "training.batch_size"),
        ("training.rank=8", "training.rank", "lora.rank"),
        ("batch_size=8", "batch_size", "training.batch_size"),
        ("training.seed=8", "training.seed", "seed"),
        ("training.early_stopping.patiense=1", "training.early_stopping.patiense", "training.early_stopping.patience"),
        ("local.device_map=auto", "local.device_map", "local.device"),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_meant(override: str, unknown: str, meant: str) -> None:
    assert _error(None, override) == f'unknown key "{unknown}". Did you mean "{meant}"?'


def test_a_value_that_was_left_out_is_not_called_by_pythons_name() -> None:
    for override in ("name=", "seed=null", "data.test_size=~"):
        assert _error(None, override).endswith("(got nothing)")


def test_a_wrong_override_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    file = write_config(tmp_path, "training: {epochs: 2}\n")
    assert _error(file, "training.epochs=0").startswith('override "training.epochs=0": training.epochs: ')
    assert _error(file, "trainig.epochs=2").startswith('override "trainig.epochs=2": unknown key')
    assert _error(write_config(tmp_path, "training: {epochs: 0}\n"), "seed=1").startswith(f"{file}: training.epochs: ")


@pytest.mark.parametrize("override", ["training.epochs=true", "training.learning_rate=false", "evaluation.stop=true"])
def test_true_and_false_are_no_numbers(override: str) -> None:
    assert "must not be true or false" in _error(None, override)


def test_a_wrong_key_of_a_part_of_a_mixture_is_named(tmp_path: Path) -> None:
    assert 'unknown key "data.mix.0.sorce". Did you mean "data.mix.0.source"?' in _error(None, "data.mix=[{sorce: a}]")
    assert "data.mix and data.source are both set" in _error(None, "data.mix=[{source: spider}]", "data.source=bird")


def test_an_unknown_key_like_no_other_lists_what_there_is(tmp_path: Path) -> None:
    file = write_config(tmp_path, "lora: {zzz: 1}\n")
    assert _error(file) == f'{file}: unknown key "lora.zzz". Known keys: rank, train_attn, train_mlp, train_unembed.'


@pytest.mark.parametrize(
    ("override", "key", "got"),
    [
        ("training.batch_size=0", "training.batch_size", "0"),
        ("training.batch_size=many", "training.batch_size", "'many'"),
        ("training.batch_size=1.5", "training.batch_size", "1.5"),
        ("training.learning_rate=-1", "training.learning_rate", "-1"),
        ("training.learning_rate=fast", "training.learning_rate", "'fast'"),
        ("training.learning_rate=.inf", "training.learning_rate", "inf"),
        ("training.weight_decay=.nan", "training.weight_decay", "nan"),
        ("local.micro_batch_tokens=0", "local.micro_batch_tokens", "0"),
        ("backend=gpu", "backend", "'gpu'"),
        ("name=a/b", "name", "'a/b'"),
        ("evaluation.stop=x", "evaluation.stop", "'x'"),
        ("evaluation.stop=['']", "evaluation.stop.0", "''"),
        ("training=3", "training", "3"),
        ("lora.rank=null", "lora.rank", "nothing"),
        ("evaluation.workers=0", "evaluation.workers", "0"),
        ("evaluation.workers=dask", "evaluation.workers", "'dask'"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_on_one_line(override: str, key: str, got: str) -> None:
    message = _error(None, override)
    assert message.startswith(f"{key}: ") and message.endswith(f"(got {got})")
    assert "\n" not in message


def test_every_wrong_key_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    file = write_config(tmp_path, "sed: 1\nlora: {rank: -1}\ntraining: {epochs: 0}\n")
    lines = _error(file).splitlines()
    assert len(lines) == 3 and all(line.startswith(f"{file}: ") for line in lines)


@pytest.mark.parametrize("override", ["batch", "=3", ""])
def test_what_is_not_an_override_says_how_to_write_one(override: str) -> None:
    assert "write key=value" in _error(None, override)


def test_an_override_inside_a_value_and_malformed_values_are_refused(tmp_path: Path) -> None:
    assert "seed is a value, not a section" in _error(write_config(tmp_path, "seed: 3\n"), "seed.x=1")
    assert "data.limit=[" in _error(None, "data.limit=[")


@pytest.mark.parametrize("key", ["output_dir", "base_model", "data.path", "training.start_from", "judge.model"])
def test_a_text_that_is_no_name_is_refused(key: str) -> None:
    for value, what in (("''", "must not be empty"), ("' '", "must not be empty"), ('"a\\0b"', "U+0000")):
        assert key in _error(None, f"{key}={value}") and what in _error(None, f"{key}={value}")
    with pytest.raises(UserError, match="there is no home directory of that name"):
        expand_user("~nobody-of-this-name/x")


def test_a_key_that_a_merged_mapping_has_too_is_no_second_one() -> None:
    values = read_yaml("b: &b {x: 1}\nbase:\n  a: &a {<<: *b, x: 2}\nc: {<<: *a}\n")
    assert values == {"b": {"x": 1}, "base": {"a": {"x": 2}}, "c": {"x": 2}}


# Nine aliases of nine aliases, nine times over.
LAUGHS = f"a: &a [{9 * 'x,'}]\n" + "".join(
    f"{after}: &{after} [{','.join(9 * ['*' + before])}]\n" for before, after in pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1e400",
        f"seed={10**30}",
        "data.seed=9999999999",
        "lora.rank=1000000000",
        "training.learning_rate=.nan",
        "training.eps=.inf",
        "training.loss_config={x: 1e300}",
        "local.lora_alpha=.nan",
        "local.lora_alpha=1e300",
        "evaluation.timeout=1e300",
        "evaluation.workers=99999",
        "tinker.prices={train: .nan, prefill: 1, sample: 1}",
    ],
)
def test_a_number_that_nothing_can_be_done_with_is_refused(override: str) -> None:
    assert f"{override.partition('=')[0]}" in _error(None, override)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("training: [", "not valid YAML"),
        ("- a\n- b\n", "not a list"),
        ("just words", "not a text"),
        ("seed: 1\nseed: 2\n", '"seed" is given twice'),
        ("training:\n  epochs: 1\n  epochs: 2\n", '"epochs" is given twice'),
        ("1: 2\n", 'unknown key "1"'),
        ("seed: 1\nname: &a [*a]\n", "line 2, column 11: *a stands inside of what it names"),
        (LAUGHS, "with its aliases written out, this is too large"),
        ("name: " + 9000 * "[", "line 1, column 56: values are nested more than 50 deep"),
        ("".join(level * " " + "a:\n" for level in range(2000)), "line 50, column 50: values are nested more than 50"),
        ("data:\n\tlimit: 3\n", "line 2, column 1: a tab; indent with spaces"),
        ("seed: 1\nname: a\0b\n", "line 2: the character U+0000"),
        (f"seed: {5001 * '9'}\n", "line 1, column 7: a number has 5,001 digits"),
        ("name: !!binary aGVsbG8=\n", "line 1, column 7: !!binary is no value"),
        ("name: !!python/object:os.system x\n", "line 1, column 7: !!python/object:os.system is no value"),
        ("seed: !!int x\n", "a tag (!!) does not go with its value"),
        ("? [a, b]\n: 1\n", "line 1, column 3: a key must be one word"),
        ("lora.rank: 8\n", 'unknown key "lora.rank". Below its section it is lora: {rank: ...}'),
        ("seed: 1:30\n", "seed: must be a whole number (got '1:30')"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str, what: str) -> None:
    file = write_config(tmp_path, text)
    message = _error(file)
    assert file in message and what in message


def test_a_file_that_is_not_text_or_not_there_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "model.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert str(binary) in _error(str(binary))
    assert 'no configuration file quickstrat.yaml. Did you mean "quickstart"?' in _error("quickstrat.yaml")
    # Not the shipped one.
    assert str(tmp_path / "quickstart.yaml") in _error(str(tmp_path / "quickstart.yaml"))


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (["lora.train_attn=false", "lora.train_mlp=false", "lora.train_unembed=false"], ["train_attn"]),
        (["training.early_stopping={}"], ["training.early_stopping", "data.validation_size"]),
        (["training.validation_questions=3"], ["training.validation_questions", "data.validation_size"]),
        (["backend=tinker", "local.lora_alpha=64"], ["local.lora_alpha", "backend=tinker", "no alpha"]),
        (["backend=tinker", "local.quantization=nf4"], ["local.quantization=nf4", "backend=tinker", "=auto"]),
        (["backend=tinker", "training.checkpoint_ttl_days=0.01"], ["training.checkpoint_ttl_days", "an hour"]),
        (["tinker.prices.train=1"], ["tinker.prices.prefill", "tinker.prices.sample"]),
        (["data.path=rows.json"], ["data.path", "data.source"]),
        (["data.columns.answer=sql"], ["data.columns", "data.source"]),
        (
            [
                "training.early_stopping.metric=validation_accuracy",
                "data.validation_size=5",
                "training.validate_every=1",
            ],
            ["validation_accuracy", "training.validation_questions"],
        ),
    ],
)
def test_combinations_that_make_no_sense_are_refused(overrides: list[str], keys: list[str]) -> None:
    message = _error(None, *overrides)
    assert all(key in message for key in keys)


def test_an_option_that_changes_what_is_learnt_is_refused_elsewhere() -> None:
    changed = {
        name: "other" if isinstance(field.default, str) else True if field.default is False else 7
        for name, field in LocalOptions.model_fields.items()
    }
    refused = only_local(LocalOptions.model_construct(**changed))
    learning = {name for name, about in LOCAL_OPTIONS.items() if about.changes in ("learning", "both")}
    assert set(refused) == learning and all(refused.values())
    assert {"dtype", "packing", "unscored_logprobs"}.isdisjoint(learning) and {"dora", "optimizer"} <= learning
    assert only_local(LocalOptions(quantization="auto")) == {}


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (["training.loss=ppo"], ["training.loss=ppo", "gold answers", "'logprobs' and 'advantages'"]),
        (["training.loss=custom"], ["training.loss=custom", "not available", "cross_entropy"]),
        (["training.loss_config.beta=1"], ["training.loss=cross_entropy", "'beta'", "no settings"]),
        (["training.loss=flat", "training.loss_config.slope=2", "backend=tinker"], ["training.loss=flat", "the API"]),
    ],
)
def test_a_loss_that_gold_answers_cannot_feed_is_refused(
    overrides: list[str], keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = Loss("flat", lambda lp, inputs, settings: lp, optional={"weights": 1.0}, settings={"slope": 1.0})
    monkeypatch.setitem(LOSSES, "flat", flat)
    assert load_config(None, ["training.loss=flat", "training.loss_config.slope=2"]).training.loss == "flat"
    message = _error(None, *overrides)
    assert all(key in message for key in keys)


def test_infinite_numbers_are_refused_by_yaml_and_by_name() -> None:
    assert math.isinf(read_yaml(".inf"))
    assert "finite" in _error(None, "evaluation.timeout=.inf")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backend=tinker", "local.method=full"], "local.method=.* cannot be had with backend=tinker"),
        (["backend=tinker", "local.neftune_alpha=5"], "local.neftune_alpha=.* cannot be had with backend=tinker"),
        (["backend=tinker", "local.lora_alpha=16"], "local.lora_alpha=.* cannot be had with backend=tinker"),
        (["backend=tinker", "local.optimizer=paged_adamw_8bit"], "local.optimizer=.* cannot be had"),
        (["local.method=full", "lora.rank=8"], "lora.rank is about adapters"),
        (["local.method=full", "local.dora=true"], "dora is about adapters"),
        (["local.method=full", "local.quantization=nf4"], "needs quantization=none"),
        (["local.target_modules=[q_proj]", "lora.train_mlp=false"], "local.target_modules takes the place"),
    ],
)
def test_options_of_one_place_alone_are_refused_by_name(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(None, overrides)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.batch_size=many", "must be a whole number (got 'many')"),
        ("training.batch_size=-1", "must be greater than 0 (got -1)"),
        ("training.beta1=2", "must be less than 1.0 (got 2)"),
        ("training.learning_rate=fast", "must be a number or must be 'auto' (got 'fast')"),
        ("lora.train_attn=2", "must be true or false (got 2)"),
        ("evaluation.stop=3", "must be a list (got 3)"),
        ("prompt=3", "must hold keys and values (got 3)"),
        ("judge.max_cost=1", "judge.model: must be given"),
        ("backend=remote", "must be 'local', 'tinker' or 'fake' (got 'remote')"),
    ],
)
def test_a_wrong_value_is_told_in_words_for_people(override: str, sentence: str) -> None:
    assert sentence in _error(None, override)


def test_a_sections_own_overrides_are_told_alike() -> None:
    for override, said in (
        ("nonsense=2", 'unknown key "nonsense". Known keys: model, base_url'),
        ("concurency=2", 'unknown key "concurency". Did you mean "concurrency"?'),
        ("concurrency=many", "concurrency: must be a whole number (got 'many')"),
        ("max_cost=2", "max_cost needs input_price and output_price"),
    ):
        with pytest.raises(UserError) as refused:
            load_section(EndpointConfig, {"model": "m"}, [override])
        assert said in str(refused.value)


def test_no_pattern_is_shown_as_one() -> None:
    text = json.dumps(config_schema())
    assert set(map(json.loads, re.findall(r'"pattern": ("(?:[^"\\\\]|\\\\.)*")', text))) <= set(PATTERNS)
    assert "name: must be letters, digits, dots, dashes and underscores" in _error("quickstart", "name=a/b")
    assert "hub.push_to: must be owner/name" in _error("quickstart", "hub.push_to=a")


@pytest.mark.parametrize("written", ["None", "none", "undefined"])
def test_what_other_languages_call_null_is_told_its_name(written: str) -> None:
    assert f"data.limit: must be a whole number, or null for none (got '{written}')" in _error(
        "quickstart", f"data.limit={written}"
    )

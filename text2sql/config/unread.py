"""Keys that have been set and that nothing of this configuration will read: a wish that would be ignored in silence.

A configuration may serve several backends, and so the sections of backends that are not chosen are left alone. What
contradicts itself stands in the validators of `text2sql.config.schema`; this is what only does nothing, and so neither
the configurations of earlier runs nor those that a program makes are refused for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from backends.options import changed
from text2sql.config.schema import Config, expand_user
from text2sql.config.sections import DataConfig, SourceConfig
from text2sql.rows import names_table

# Of a run that learns from verdicts, the keys of a table that a reward function takes the place of.
_REWARD_TABLE = ("runs", "partial", "caught", "error", "refused", "truncated")
# Keys of a source that say where its rows are and how they are read.
_SOURCE_KEYS = ("path", "hub_split", "columns", "databases")


def unread_keys(config: Config) -> Iterator[tuple[str, str]]:
    """The keys that have another value than their default and are not read, each with the reason and a way out."""
    yield from _of_data(config.data)
    yield from _of_rl(config)
    for key, (is_read, reason) in _conditions(config).items():
        *path, name = key.split(".")
        section: Any = config
        for part in path:
            section = getattr(section, part)
        if not is_read and changed(section, name):
            yield key, reason


def _conditions(config: Config) -> Mapping[str, tuple[bool, str]]:
    """By key: whether it is read, and why not if it is not."""
    local = config.local
    validates = bool(config.data.validation_size)
    stored_in_4_bits = local.quantization in ("nf4", "auto")
    return {
        "training.validate_every": (validates, "there is nothing to validate on; set data.validation_size"),
        "training.log_samples": (bool(config.training.validation_questions), "set training.validation_questions"),
        "evaluation.max_thinking_tokens": (config.prompt.thinking == "on", "set prompt.thinking=on"),
        "evaluation.transpile": (config.data.dialect != "sqlite", "data.dialect=sqlite is not translated"),
        "hub.format": (config.hub.push_to is not None, "nothing is pushed; set hub.push_to"),
        "hub.private": (config.hub.push_to is not None, "nothing is pushed; set hub.push_to"),
        "local.double_quantization": (stored_in_4_bits, "it is about local.quantization=nf4"),
        "local.sampler_directory": (local.sampler is not None, "set local.sampler"),
        "tinker.price_list": (config.tinker.prices is None, "tinker.prices takes its place"),
        "rl.holdout_by": (config.rl.holdout > 0, "nothing is kept aside; set rl.holdout"),
    }


def _of_data(data: DataConfig) -> Iterator[tuple[str, str]]:
    if data.mix:
        for key in _SOURCE_KEYS:
            if changed(data, key):
                yield f"data.{key}", "it is about one source, and data.mix has several; move it into data.mix"
    else:
        yield from _of_source(data, "data")
    for index, part in enumerate(data.mix):
        yield from _of_source(part, f"data.mix.{index}")
    if data.test is not None:
        yield from _of_source(data.test, "data.test")


def _of_source(source: SourceConfig, where: str) -> Iterator[tuple[str, str]]:
    keys = [key for key in _SOURCE_KEYS if changed(source, key)]
    if source.source == "bundled":
        reason = f"the bundled data come with the program; set {where}.source"
    elif names_table(expand_user(source.source)):
        reason = f"{where}.source={source.source} is a file, which is read whole; set one of them"
        keys = [key for key in keys if key in ("path", "hub_split")]
    else:
        return
    yield from ((f"{where}.{key}", reason) for key in keys)


def _of_rl(config: Config) -> Iterator[tuple[str, str]]:
    rl = config.rl
    if rl.method is None:
        # With null written out, it has been switched off on purpose, as on top of a configuration that has it.
        if "method" not in rl.model_fields_set:
            for name in type(rl).model_fields:
                if name not in ("method", "holdout", "holdout_by") and changed(rl, name):
                    yield f"rl.{name}", "it is about learning from verdicts; set rl.method"
        return
    if rl.reward.function is not None:
        for name in _REWARD_TABLE:
            if changed(rl.reward, name):
                yield f"rl.reward.{name}", "rl.reward.function takes the place of the table"
        return
    for name in ("on_failure", "seconds"):
        if changed(rl.reward, name):
            yield f"rl.reward.{name}", "set rl.reward.function"

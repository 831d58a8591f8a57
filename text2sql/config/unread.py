"""Keys that have been set and that nothing of this configuration will read: a wish that would be ignored in silence.

A configuration may serve several backends, and so the sections of backends that are not chosen are left alone. What
contradicts itself stands in the validators of `text2sql.config.schema`; this is what only does nothing, and so neither
the configurations of earlier runs nor those that a program makes are refused for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from backends.options import changed
from text2sql.config.schema import Config
from text2sql.config.section import Section, expand_user
from text2sql.config.sections import DataConfig, SourceConfig
from text2sql.config.yaml import dump_yaml
from text2sql.rows import names_table

# Of a run that learns from verdicts, the keys of a table that a reward function takes the place of.
_REWARD_TABLE = ("runs", "partial", "caught", "error", "refused", "truncated")
# Keys of a source that say where its rows are and how they are read.
_SOURCE_KEYS = ("path", "hub_split", "columns", "databases")


@dataclass(frozen=True)
class Unread:
    """A key that has another value than its default, and is not read.

    Attributes:
        key: Dotted, as on a command line.
        default: Its default.
        reason: Why it is not read, and what would have it read.
    """

    key: str
    default: Any
    reason: str

    def __str__(self) -> str:
        nameable = not isinstance(self.default, dict | Section)
        back = f" or set {self.key}={_shown(self.default)}, its default" if nameable else ""
        return f"{self.key} is set, and nothing would read it: {self.reason}. Else leave it out{back}."


def unread_keys(config: Config) -> Iterator[Unread]:
    """The keys that have been set and are not read."""
    yield from _of_data(config.data)
    yield from _of_rl(config)
    for key, (is_read, reason) in _conditions(config).items():
        if not is_read:
            where, _, name = key.rpartition(".")
            yield from _set(where, getattr(config, where), [name], reason)


def _set(where: str, section: BaseModel, names: Iterable[str], reason: str) -> Iterator[Unread]:
    """Those of the keys of a section that have been set."""
    for name in names:
        if changed(section, name):
            default = type(section).model_fields[name].get_default(call_default_factory=True)
            yield Unread(f"{where}.{name}", default, reason)


def _shown(value: Any) -> str:
    return dump_yaml(value).removesuffix("\n").removesuffix("\n...")


def _conditions(config: Config) -> Mapping[str, tuple[bool, str]]:
    """By key: whether it is read, and why not if it is not."""
    local = config.local
    return {
        "training.validate_every": (config.data.validation_size > 0, "validations need data.validation_size"),
        "evaluation.max_thinking_tokens": (config.prompt.thinking == "on", "it needs prompt.thinking=on"),
        "evaluation.transpile": (config.data.dialect != "sqlite", "with data.dialect=sqlite nothing is translated"),
        "local.double_quantization": (local.quantization in ("nf4", "auto"), "it needs local.quantization=nf4"),
        "local.sampler_directory": (local.sampler is not None, "it needs local.sampler"),
        "tinker.price_list": (config.tinker.prices is None, "tinker.prices takes its place"),
        "rl.holdout_by": (config.rl.holdout > 0, "it needs rl.holdout"),
    }


def _of_data(data: DataConfig) -> Iterator[Unread]:
    if data.mix:
        yield from _set("data", data, _SOURCE_KEYS, "each source of data.mix has its own")
    else:
        yield from _of_source("data", data)
    for index, part in enumerate(data.mix):
        yield from _of_source(f"data.mix.{index}", part)
    if data.test is not None:
        yield from _of_source("data.test", data.test)


def _of_source(where: str, source: SourceConfig) -> Iterator[Unread]:
    if source.source == "bundled":
        yield from _set(where, source, _SOURCE_KEYS, f"{where}.source=bundled comes with the program")
    elif names_table(expand_user(source.source)):
        reason = f"{where}.source={source.source} is a file, which is read whole"
        yield from _set(where, source, ("path", "hub_split"), reason)


def _of_rl(config: Config) -> Iterator[Unread]:
    rl = config.rl
    # With null written out it has been switched off on purpose, as on top of a configuration that has it.
    if rl.method is None and "method" not in rl.model_fields_set:
        names = [name for name in type(rl).model_fields if name not in ("method", "holdout", "holdout_by")]
        yield from _set("rl", rl, names, "it is about learning from verdicts and needs rl.method")
    if rl.method is not None and rl.reward.function is not None:
        yield from _set("rl.reward", rl.reward, _REWARD_TABLE, "rl.reward.function takes the place of the table")
    if rl.method is not None and rl.reward.function is None:
        yield from _set("rl.reward", rl.reward, ("on_failure", "seconds"), "it needs rl.reward.function")

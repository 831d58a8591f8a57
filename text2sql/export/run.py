"""Export of a run: its weights in a new directory with a record and a model card, and on the Hub if wanted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import text2sql
from backends.chat_template import timeless_template
from backends.exporting import Weights, download_adapter, open_weights
from backends.paths import directory_written_aside
from backends.saved_weights import LogitGap, Probe
from backends.tokenizer import Tokenizer
from text2sql.config import Config, HubConfig
from text2sql.console import console
from text2sql.data import prompts
from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.errors import UserError
from text2sql.export import gguf, hub
from text2sql.export.card import rounding, write_card
from text2sql.export.chat_template import plain_chat_template
from text2sql.export.record import ExportRecord, Format
from text2sql.formats import percent
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.trained_model import tuned_checkpoint

# Number of prompts on which the effect of a merge is measured.
PROBES = 4


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export.

    Attributes:
        format: A PEFT adapter, the whole model, or one GGUF file.
        output: Directory to create; ``RUN/export/FORMAT`` if None.
        dtype: Dtype of a merged model; for GGUF it follows from `gguf_type`.
        adapter: Directory of a downloaded adapter, instead of the run's own checkpoint.
        gguf_type: The converter's ``--outtype``.
        converter: llama.cpp's ``convert_hf_to_gguf.py``, or its directory; searched for if None.
        push_to: ``owner/name`` on the Hugging Face Hub.
        private: Whether a repository that the push creates is private.
    """

    format: Format = "adapter"
    output: Path | None = None
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    adapter: Path | None = None
    gguf_type: gguf.OutType = "auto"
    converter: Path | None = None
    push_to: str | None = None
    private: bool = True


def export_run(directory: Path, options: ExportOptions) -> Path:
    """Export the checkpoint that the run was evaluated with.

    Returns:
        The directory that was created.

    Raises:
        UserError: The run has no checkpoint, the output exists, or a converter or a token is missing; no incomplete
            directory is left.
        BackendError: The checkpoint or the base model cannot be read.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    target = options.output or run.file("export") / options.format
    if target.exists():
        raise UserError(f"--output: {target} exists already; give another directory, or remove it first.")
    if not config.capabilities.has_weights:
        raise UserError(f"{run.path} was made by the {config.backend} backend, which has no weights to export.")
    converter = gguf.find_converter(options.converter) if options.format == "gguf" else None
    if options.push_to:
        hub.check(options.push_to)
    tokenizer = prompts.load_tokenizer(config.base_model)
    with _weights(run, config, options.adapter) as weights, writing_directory(target) as aside:
        if options.format == "adapter":
            saved = weights.save_adapter(aside)
        else:
            saved = weights.save_merged(aside, _dtype(options), _probes(run, config, tokenizer))
            _save_generation_config(config, aside)
        form = prompts.PromptFormat.of(config)
        # With this template chat programs prompt the model as it was trained.
        is_chat = prompts.is_chat(form)
        tokenizer.chat_template = timeless_template(tokenizer) if is_chat else plain_chat_template(form, tokenizer)
        tokenizer.save_pretrained(aside)
        fields = {"format": options.format, "text2sql": text2sql.__version__, "run": config.name}
        record = ExportRecord.model_validate({**fields, **vars(saved)})
        if converter is not None:
            # The converter reads name and licence from the card.
            write_card(aside, record, config, run.summary(), tokenizer, options.push_to)
            converted = gguf.convert(aside, converter, options.gguf_type, gguf.modelfile(config, tokenizer))
            record = record.model_copy(update={"gguf": converted})
        (aside / "export.json").write_text(json.dumps(record.to_json(), indent=2) + "\n", encoding="utf-8")
        write_card(aside, record, config, run.summary(), tokenizer, options.push_to)
    announce(target, record)
    if options.push_to:
        _push(target, options.push_to, private=options.private)
    return target


def push_run(directory: Path, settings: HubConfig) -> None:
    """Export a finished run, unless that has been done, and push it as its configuration's section `hub` says.

    Raises:
        UserError: The export or the push fails; the run is kept, and the message says how to push later.
    """
    target = directory / "export" / settings.format
    if not target.exists():
        export_run(directory, ExportOptions(format=settings.format))
    _push(target, str(settings.push_to), private=settings.private)


@contextmanager
def _weights(run: RunDirectory, config: Config, adapter: Path | None) -> Iterator[Weights]:
    """The run's trained weights: from its own checkpoints, a downloaded adapter, or the Tinker API."""
    environment = run.environment()
    # With `auto`, the quantization that the run used.
    quantization = environment.quantization if environment and environment.quantization else config.local.quantization
    local = config.local.model_copy(update={"quantization": quantization})
    on_disk = config.capabilities.checkpoints_on_disk
    if adapter is None and not on_disk and (run.file("adapter") / "adapter_config.json").is_file():
        # The adapter has been downloaded before; the checkpoint itself may have expired.
        adapter = run.file("adapter")
    if adapter is not None:
        yield open_weights(config.base_model, local, directory=adapter)
        return
    checkpoint = tuned_checkpoint(run, config, "give --adapter")
    if on_disk:
        root = run.file("checkpoints")
        yield open_weights(config.base_model, local, checkpoints=root, path=checkpoint.sampler_path)
        return
    from text2sql.runs.session import open_service

    with tempfile.TemporaryDirectory(prefix="text2sql-") as scratch:
        console.print(f"Downloading {checkpoint.state_path} from the Tinker API")
        with open_service(config) as service:
            download_adapter(service, checkpoint.state_path, Path(scratch))
        yield open_weights(config.trained_model, local, directory=Path(scratch))


@contextmanager
def writing_directory(target: Path) -> Iterator[Path]:
    """`directory_written_aside` with UserError in place of OSError."""
    try:
        with directory_written_aside(target) as aside:
            yield aside
    except OSError as error:
        raise UserError(f"--output: writing {target} failed: {error.strerror or error}. Nothing was kept.") from error


def _dtype(options: ExportOptions) -> str:
    """The dtype to merge into: float32 where the GGUF converter rounds the weights itself."""
    if options.format == "merged":
        return options.dtype
    return "bfloat16" if options.gguf_type in ("auto", "bf16") else "float32"


def _probes(run: RunDirectory, config: Config, tokenizer: Tokenizer) -> list[Probe]:
    """Prompts with the tuned model's answers; the questions on new schemas if the run has no answers."""
    rows = run.predictions("tuned")[:PROBES]
    if rows:
        return [Probe(row.prompt, row.raw or " SELECT") for row in rows]
    form = prompts.PromptFormat.of(config)
    return [
        Probe(prompts.render_prompt(example, form, tokenizer), prompts.render_completion(example, form))
        for example in EXERCISE_QUESTIONS[:PROBES]
    ]


def _save_generation_config(config: Config, target: Path) -> None:
    """Write the base model's generation settings with the run's answer length and temperature."""
    from transformers import GenerationConfig

    settings = GenerationConfig.from_pretrained(target)
    settings.max_new_tokens = config.evaluation.max_new_tokens
    settings.do_sample = config.evaluation.temperature > 0
    settings.temperature = config.evaluation.temperature or None
    if not settings.do_sample:
        settings.top_p = settings.top_k = None
    settings.save_pretrained(target)


def _push(target: Path, repository: str, *, private: bool) -> None:
    console.print(f"Pushed to {hub.push(target, repository, private=private)}", soft_wrap=True)


def announce(target: Path, record: ExportRecord) -> None:
    """Print where the export is, and what merging changed."""
    lines = [f"Exported to {target}"]
    measured, trained = record.logit_gap, record.logit_gap_to_quantized
    if record.not_compared is not None:
        lines.append(
            f"The run trained on a base in {record.trained_quantization}, and a merge goes into the unquantised one; "
            f"the two could not be compared here: {record.not_compared}"
        )
    if measured:
        lines.append(f"Logits after the merge against before: {_gap(measured)}. {rounding(record.dtype)}")
    if trained:
        lines.append(
            f"The run trained on a base in {record.trained_quantization}, and a merge goes into the unquantised one. "
            f"Against the model as it was trained and scored: {_gap(trained)}."
        )
    console.print("\n".join(lines), soft_wrap=True)


def _gap(gap: LogitGap) -> str:
    return (
        f"largest difference {gap.max_abs:.3g}, mean KL {gap.mean_kl:.2g}, the same best token at "
        f"{percent(gap.same_top_token)} of {gap.positions} positions"
    )

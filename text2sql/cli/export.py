"""The commands that write trained weights for other programs: export, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from text2sql.cli.arguments import refuse_unread
from text2sql.errors import UserError


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory to make; RUN/export/FORMAT if not given.")
    ] = None,
    format: Annotated[
        Literal["adapter", "merged", "gguf"],
        typer.Option(help="A PEFT adapter, the whole model, or one GGUF file with an Ollama Modelfile."),
    ] = "adapter",
    dtype: Annotated[
        Literal["bfloat16", "float16", "float32"], typer.Option(help="Dtype of a merged model.")
    ] = "bfloat16",
    adapter: Annotated[
        Path | None, typer.Option(help="Directory of a downloaded adapter, instead of the run's checkpoint.")
    ] = None,
    gguf_type: Annotated[
        Literal["auto", "bf16", "f16", "f32", "q8_0"], typer.Option(help="Type of the weights in a GGUF file.")
    ] = "auto",
    converter: Annotated[
        Path | None, typer.Option(help="llama.cpp's directory or its convert_hf_to_gguf.py; or $LLAMA_CPP.")
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Push it to the Hugging Face Hub; needs HF_TOKEN.")
    ] = None,
    private: Annotated[bool, typer.Option("--private/--public", help="Of a repository that the push makes.")] = True,
) -> None:
    """Write a run's trained weights in a form that other programs load, with a model card."""
    from text2sql.pipeline.preflight import check_weights

    if format != "gguf":
        refuse_unread(context, f"with --format {format}", "gguf_type", "converter")
    if format != "merged":
        refuse_unread(context, f"with --format {format}", "dtype")
    if push_to_hub is None:
        refuse_unread(context, "without --push-to-hub", "private")
    check_weights(run, adapter)
    from text2sql.export import ExportOptions, export_run

    export_run(
        run,
        ExportOptions(
            format=format,
            output=output,
            dtype=dtype,
            adapter=adapter,
            gguf_type=gguf_type,
            converter=converter,
            push_to=push_to_hub,
            private=private,
        ),
    )


def merge(
    adapter: Annotated[Path, typer.Argument(help="Directory of a PEFT adapter.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to make.")],
    base: Annotated[str | None, typer.Option(help="Its base model; what it names itself by default.")] = None,
    dtype: Annotated[
        Literal["bfloat16", "float16", "float32"], typer.Option(help="Dtype of the merged model.")
    ] = "bfloat16",
) -> None:
    """Merge an adapter into its base model, exactly: one that was downloaded, or that anyone has made."""
    from backends.base_models import check_available
    from text2sql.pipeline.external_adapter import base_of_adapter

    if not adapter.is_dir():
        raise UserError(f"There is no directory {adapter}.")
    base_model = base or base_of_adapter(str(adapter))
    if base_model is None:
        raise UserError(f"{adapter} does not name its base model; say it with --base.")
    check_available(base_model)
    from text2sql.export.merge import merge_adapter

    merge_adapter(adapter, base_model, output, dtype)

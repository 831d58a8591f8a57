"""`text2sql serve`: Tinker's protocol in front of this machine's GPU."""

from __future__ import annotations

import json
import os
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from text2sql.errors import UserError

if TYPE_CHECKING:
    from pydantic import JsonValue

    from backends.server.settings import ServerSettings


# Addresses that stand for all network interfaces.
ALL_INTERFACES = ("0.0.0.0", "::", "")


def serve(
    base_model: Annotated[
        list[str], typer.Option("--base-model", help="Model to serve, or NAME=DIRECTORY; repeat for several.")
    ],
    data: Annotated[Path, typer.Option(help="Directory for checkpoints and state.")] = Path("server"),
    host: Annotated[str, typer.Option(help="Address to listen on; beyond 127.0.0.1 a key is required.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            help="Key to accept; each is a user with their own namespace. On the command line others on this machine "
            "see it in the list of processes: prefer --api-key-file or the variable.",
            envvar="TEXT2SQL_API_KEY",
        ),
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File with one key on each line.")] = None,
    quantization: Annotated[str, typer.Option(help="Storage of the frozen base: none, nf4, int8.")] = "none",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="local.KEY=value, limits.KEY=value or server.KEY=value ...", show_default=False),
    ] = None,
) -> None:
    """Serve Tinker's protocol: point a Tinker script at it with TINKER_BASE_URL."""
    from pydantic import ValidationError

    from backends import check_backend
    from backends.server.auth import check_exposure
    from backends.server.settings import ServerSettings
    from text2sql.config.load import apply_override, explain

    values: dict[str, JsonValue] = {"local": {"quantization": quantization}}
    for override in overrides or []:
        if not override.startswith(("local.", "limits.", "server.")):
            raise UserError(f'"{override}": write local.KEY=value, limits.KEY=value or server.KEY=value.')
        apply_override(values, override)
    keys = (*(api_key or []), *_read_keys(api_key_file))
    try:
        settings = ServerSettings(
            base_models=dict(map(_name_and_location, base_model)), data=data, host=host, port=port, keys=keys, **values
        )
    except ValidationError as error:
        raise UserError("\n".join(line for _, line in explain(error.errors(), ServerSettings))) from error
    # Quick checks come before the libraries that take seconds to load.
    check_exposure(settings.host, settings.keys)
    if settings.data.exists() and not settings.data.is_dir():
        raise UserError(f"--data: {settings.data} is a file; give a directory.")
    for location in settings.base_models.values():
        check_backend("local", settings.local, location)
    _start(settings)


def _start(settings: ServerSettings) -> None:
    """Serve, and print how to use the server once it is ready."""
    from text2sql.console import SafeConsole
    from text2sql.evaluation.service import VerdictService

    try:
        from backends.server.main import serve
        from backends.server.services import JsonService
    except ImportError as error:
        from backends.extras import missing_package

        raise UserError(
            missing_package(
                "text2sql serve", error.name or "fastapi", "server", "run with backend=local, which needs no server"
            )
        ) from error
    key = "<a key>" if settings.keys else "tml-local"
    console = SafeConsole(stderr=True)
    console.print(f"Loading {', '.join(settings.base_models)} …")

    model = next(iter(settings.base_models))
    request = shlex.quote(json.dumps({"model": model, "prompt": "SELECT", "max_tokens": 16}))

    def ready(url: str) -> None:
        console.print(
            f"Serving on {url} (status page {url}/, state in {settings.data}). In another terminal:\n"
            f"  export TINKER_BASE_URL={url} TINKER_API_KEY={key}\n"
            f"  text2sql run backend=tinker base_model={model}   # or any Tinker script\n"
            f"OpenAI clients:\n"
            f"  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}\n"
            f'  curl {url}/v1/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" '
            f"-d {request}",
            soft_wrap=True,
        )
        if settings.host in ALL_INTERFACES:
            console.print(f"Other machines reach it as http://{socket.gethostname()}:{urlsplit(url).port}.")

    verdicts = VerdictService(settings.limits.pairs_per_request, workers=min(4, os.cpu_count() or 1))
    serve(settings, ready, [JsonService("/v1/verdicts", verdicts.answer, settings.limits.waiting_verdict_requests)])


def _name_and_location(text: str) -> tuple[str, str]:
    name, equals, location = text.partition("=")
    return (name, location) if equals else (text, text)


def _read_keys(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--api-key-file: {file} cannot be read: {error}") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UserError(f"--api-key-file: {file} has no key.")
    return keys

"""``checkpoint.json``, the manifest of a checkpoint: what was trained, when it was written, when it expires."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from backends.interface import BackendError
from backends.local.weights.full import FullSpec
from backends.local.weights.lora import LoraSpec
from backends.local.weights.protocol import Spec

FORMAT = 1
MANIFEST_FILE = "checkpoint.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How a checkpoint is listed.

    Attributes:
        tinker_path: Its ``tinker://`` path; None in files of an older version, which is then that of the directory.
        time: When it was written.
        expires_at: When it expires; None: never.
        user_metadata: What the caller noted about the checkpoint.
        run_metadata: What the caller noted about its training client.
    """

    tinker_path: str | None
    time: datetime
    expires_at: datetime | None = None
    user_metadata: dict[str, str] | None = None
    run_metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointManifest:
    """The contents of ``checkpoint.json``.

    Attributes:
        base_model: Name of the base model.
        spec: What was trained.
        has_optimizer: Whether the training can be continued from it.
        step: Optimiser steps so far.
        listing: How it is listed.
        versions: Version of each package that took part in writing it.
        sha256: Digest of every other file.
    """

    base_model: str
    spec: Spec
    has_optimizer: bool
    step: int
    listing: Listing
    versions: dict[str, str]
    sha256: dict[str, str]

    def write(self, file: Path) -> None:
        """Write the JSON."""
        listing = asdict(self.listing)
        for key in ("time", "expires_at"):
            listing[key] = None if listing[key] is None else listing[key].isoformat(timespec="seconds")
        values = {
            "format": FORMAT,
            "base_model": self.base_model,
            "lora": self.spec.as_dict() if self.spec.method == "lora" else None,
            "full": self.spec.as_dict() if self.spec.method == "full" else None,
            "has_optimizer": self.has_optimizer,
            "step": self.step,
            **listing,
            "versions": self.versions,
            "sha256": self.sha256,
        }
        write_json(file, values)

    @classmethod
    def read(cls, directory: Path) -> CheckpointManifest:
        """Read the manifest in a checkpoint's directory.

        Raises:
            OSError, ValueError, KeyError, TypeError: There is none, or it is not of this format.
            BackendError: Another version wrote it.
        """
        values = json.loads((directory / MANIFEST_FILE).read_text())
        if values["format"] != FORMAT:
            raise BackendError(f"{directory} has format {values['format']}; this version reads format {FORMAT}.")
        listing = {field.name: values.get(field.name) for field in fields(Listing)}
        listing["time"] = datetime.fromisoformat(values["time"])
        if listing["expires_at"]:
            listing["expires_at"] = datetime.fromisoformat(listing["expires_at"])
        return cls(
            base_model=values["base_model"],
            spec=_spec(values),
            has_optimizer=values["has_optimizer"],
            step=values.get("step", 0),
            listing=Listing(**listing),
            versions=values["versions"],
            sha256=values["sha256"],
        )


def _spec(values: dict[str, Any]) -> Spec:
    if values["lora"] is None:
        return FullSpec(**values["full"])
    lora = dict(values["lora"])
    # An older version wrote null for a seed that was not given.
    lora["seed"] = lora["seed"] or 0
    lora["modules"] = tuple(lora["modules"]) if lora.get("modules") else None
    return LoraSpec(**lora)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write one JSON object."""
    path.write_text(json.dumps(value, indent=2) + "\n")

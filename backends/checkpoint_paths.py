"""``tinker://RUN/SEGMENT/NAME``: the kinds of checkpoints, their paths, and their times to live.

The segment gives the kind: ``weights`` is a training state (weights and optimiser), ``sampler_weights`` are the weights
alone, ``external_weights`` are files for other programs. Imports neither torch nor the SDK.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["training", "sampler", "external"]

SCHEME = "tinker://"
SEGMENTS: dict[Kind, str] = {
    "training": "weights",
    "sampler": "sampler_weights",
    "external": "external_weights",
}
KINDS: dict[str, Kind] = {segment: kind for kind, segment in SEGMENTS.items()}

# Of checkpoints, and of the directories of runs.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# File systems allow 255 bytes, of which a temporary name beside it needs some.
LONGEST_NAME = 200

# The API's documentation says "between 1 hour and 10 years". Where leap days make the two readings of ten years
# differ, the shorter one is what every server takes.
SHORTEST_TTL_SECONDS = 3600
LONGEST_TTL_SECONDS = 10 * 365 * 86400


@dataclass(frozen=True, slots=True)
class CheckpointPath:
    """One checkpoint's address; `str()` writes it.

    Attributes:
        run: Id of the training run: of the training client that saved it.
        kind: Kind of checkpoint.
        name: The name under which it was saved.
    """

    run: str
    kind: Kind
    name: str

    @classmethod
    def parse(cls, path: str) -> CheckpointPath:
        """Read a path.

        Raises:
            ValueError: It is not ``tinker://RUN/SEGMENT/NAME`` with a known segment.
        """
        if not isinstance(path, str):
            raise ValueError(f"A tinker path is a text, not {type(path).__name__}.")
        parts = path.removeprefix(SCHEME).split("/")
        if not path.startswith(SCHEME) or len(parts) != 3 or parts[1] not in KINDS:
            raise ValueError(f"Invalid tinker path: {path}. One looks like {SCHEME}RUN/{'|'.join(KINDS)}/NAME.")
        return cls(run=parts[0], kind=KINDS[parts[1]], name=parts[2])

    @property
    def checkpoint_id(self) -> str:
        """The address within its training run, ``SEGMENT/NAME``."""
        return f"{SEGMENTS[self.kind]}/{self.name}"

    def __str__(self) -> str:
        return f"{SCHEME}{self.run}/{self.checkpoint_id}"


def check_name(name: object) -> None:
    """Refuse what names no checkpoint.

    Raises:
        ValueError: It is no text, has other characters than letters, digits, ``.``, ``_`` and ``-``, or too many.
    """
    if not isinstance(name, str):
        raise ValueError(f"A checkpoint's name is a text, not {type(name).__name__}.")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"The checkpoint's name has {len(name)} letters; at most {LONGEST_NAME} are allowed.")
    if not NAME.fullmatch(name):
        raise ValueError(f'Checkpoint name "{name}" may only have letters, digits, ".", "_" and "-".')


def check_ttl(seconds: int | None) -> None:
    """Refuse a lifetime that the Tinker API does not offer; None is for ever.

    Raises:
        ValueError: Less than an hour, or more than ten years, or no whole number.
    """
    if seconds is None:
        return
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not whole or not SHORTEST_TTL_SECONDS <= seconds <= LONGEST_TTL_SECONDS:
        raise ValueError(
            f"ttl_seconds is {seconds!r}; it must be {SHORTEST_TTL_SECONDS} (an hour) to {LONGEST_TTL_SECONDS} "
            "(ten years), or None."
        )

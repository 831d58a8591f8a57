"""Reads data sets on the Hugging Face Hub."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from text2sql.errors import UserError
from text2sql.rows import SourceRow

# The time limit for finding out whether a data set exists, before anything is downloaded.
LOOK_UP_SECONDS = 10.0


def read_hub(location: str, split: str, known: Sequence[str], revision: str | None = None) -> Iterable[SourceRow]:
    """Reads the rows of one split.

    Args:
        location: A Hub id, ``owner/name``.
        split: Name of the split.
        known: Names of the other sources, for the message.
        revision: Branch or commit.

    Raises:
        UserError: There is no such data set or split, or the Hub cannot be reached.
    """
    if location.count("/") != 1:
        near = difflib.get_close_matches(location, known, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise UserError(
            f'data.source: "{location}" is not a named source ({", ".join(known)}), not a file that exists, and not '
            f"a Hub id like owner/name.{hint}"
        )
    import datasets

    reached = _look_up(location, split)
    try:
        with _offline_unless(reached):
            return datasets.load_dataset(location, split=split, revision=revision)
    # `datasets` raises exceptions of many kinds for an absent set, an absent split, the network or a licence.
    except Exception as error:
        raise _hub_error(location, split, error) from error


@contextmanager
def _offline_unless(reached: bool) -> Iterator[None]:
    """Makes the Hub's client read only its cache if the Hub was not reached, to avoid half a minute of retries."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not reached:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _look_up(location: str, split: str) -> bool:
    """Looks the data set up on the Hub, because `datasets` retries a missing name for a minute.

    Returns:
        Whether the Hub has answered; if not, there may be a copy in the cache.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        HfApi().dataset_info(location, timeout=LOOK_UP_SECONDS)
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        # The data set is missing, private or gated.
        if status is not None and 400 <= status < 500:
            raise _hub_error(location, split, error) from error
    except OfflineModeIsEnabled:
        # A copy may be in the cache.
        return False
    # No network; the exception depends on the HTTP library of the Hub's client.
    except Exception as error:
        if not _is_cached(location):
            raise _hub_error(location, split, error) from error
        return False
    return True


def _is_cached(location: str) -> bool:
    import datasets

    from text2sql.config import expand_user

    folder = location.replace("/", "___")
    return (expand_user(str(datasets.config.HF_DATASETS_CACHE)) / folder).is_dir()


def _hub_error(location: str, split: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(
        f'data.source: the Hugging Face Hub did not give us "{location}" (split "{split}"): {reason}. Check the '
        "name, data.hub_split and the network, or give a downloaded file with data.path."
    )


def load_all(location: str, revision: str | None = None) -> dict[str, int]:
    """Downloads all splits into the cache of `datasets`; returns their numbers of rows (UserError as in `read_hub`)."""
    import datasets

    reached = _look_up(location, "all")
    try:
        with _offline_unless(reached):
            return {name: len(rows) for name, rows in datasets.load_dataset(location, revision=revision).items()}
    # Exceptions of many kinds, as in `read_hub`.
    except Exception as error:
        raise _hub_error(location, "all", error) from error

"""Pushing an export to the Hugging Face Hub. The token comes from the environment, never from a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from text2sql.errors import UserError

T = TypeVar("T")


def check(repository: str) -> None:
    """Check name, token and permission, so that a push does not fail after a long export.

    Raises:
        UserError: The name is invalid, there is no token, the Hub refuses it, or it may not write to that owner.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    owner, slash, name = repository.partition("/")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f'Hub: "{repository}" is not a name of a repository: {error}') from error
    if not (owner and slash and name):
        raise UserError(f'Hub: "{repository}" needs an owner: write owner/name.')
    if not get_token():
        raise UserError("Hub: there is no token. Set HF_TOKEN to one that may write, or run `hf auth login`.")
    user = _call_hub(HfApi().whoami, "the token could not be checked")
    owners = [user.get("name"), *(organization.get("name") for organization in user.get("orgs", ()))]
    if owner not in owners:
        raise UserError(
            f'Hub: this token is {user.get("name")}\'s and cannot write to "{owner}". Push to one of '
            f"{', '.join(str(name) for name in owners)}."
        )


def push(directory: Path, repository: str, *, private: bool) -> str:
    """Upload an exported directory in one commit; the repository is created if needed.

    Returns:
        The address of the repository.

    Raises:
        UserError: The Hub refuses, or cannot be reached. The export itself is kept.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    consequence = f"the export is kept in {directory}, and the same push can be tried again"
    address = _call_hub(lambda: api.create_repo(repository, private=private, exist_ok=True), consequence)
    _call_hub(
        lambda: api.upload_folder(repo_id=repository, folder_path=directory, commit_message="Export of text2sql"),
        consequence,
    )
    return str(address)


def _call_hub(call: Callable[[], T], consequence: str) -> T:
    """Call the Hub; an error becomes a UserError that also states the consequence."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        return call()
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "?")
        message = error.server_message or str(error).splitlines()[0]
        hint = " Use a token with write access (HF_TOKEN)." if status in (401, 403) else ""
        raise UserError(f"Hub: it answered {status} ({message}).{hint} Note: {consequence}.") from error
    except (HTTPError, OSError) as error:
        raise UserError(f"Hub: it cannot be reached ({type(error).__name__}: {error}); {consequence}.") from error

"""Weights to take away: a PEFT directory, encrypted with age if asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends.extras import missing_package
from backends.interface import BackendError
from backends.server.residency import Residency


def save(device: Residency, client: Any, name: str, recipients: list[str] | None) -> str:
    """Write an adapter's files as ``external_weights/NAME``.

    Args:
        device: Where the model is.
        client: The model.
        name: Name of the checkpoint.
        recipients: age keys to encrypt every file to; the files are then called ``*.age``.

    Returns:
        The ``tinker://`` path.

    Raises:
        BackendError: A recipient is no age key, or age is not installed.
    """
    encrypt = _encryption(recipients) if recipients else None
    path = client.save_weights_external(name).result().path
    if encrypt is not None:
        for file in device.files(path).iterdir():
            encrypt(file)
    return path


def _encryption(recipients: list[str]) -> Any:
    try:
        import pyrage
    except ImportError as error:
        raise BackendError(
            missing_package("On the server, encrypting files with age", "pyrage", "server", "save without recipients")
        ) from error
    keys: list[Any] = []
    for recipient in recipients:
        kind = pyrage.ssh.Recipient if recipient.startswith("ssh-") else pyrage.x25519.Recipient
        try:
            keys.append(kind.from_str(recipient))
        except pyrage.RecipientError as error:
            raise BackendError(f'"{recipient}" is not an age recipient: {error}.') from error

    def encrypt(file: Path) -> None:
        (file.parent / f"{file.name}.age").write_bytes(pyrage.encrypt(file.read_bytes(), keys))
        file.unlink()

    return encrypt

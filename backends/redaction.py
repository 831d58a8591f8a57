"""Secrets in texts: passwords in URLs and connection strings, and keys named like secrets, are masked.

This is the one rule of what no message, log, or record of a command line may hold. `UserError`, `BackendError` and
what writes tracebacks apply it, so that a new message need not think of it. It goes by the form of a text, and so
masks too much rather than too little.
"""

from __future__ import annotations

import re

MASK = "***"
_SECRET_NAME = (
    r"[\w-]*(?:password|passwd|passphrase|pwd|secret|api[_-]?key|authorization)|pass|"
    r"(?:[\w-]*(?:access|auth|refresh|hf|bearer)[_-]?)?token"
)
# A variable in the place of a secret says nothing of it, and is what messages advise.
_VARIABLE = re.compile(r"\$\$?\{\w+\}")
_DATABASE = r"(?:postgres\w*|mysql|mariadb|redshift|cockroachdb|oracle|mssql)(?:\+\w+)?"
# Repetitions are bounded: a traceback may hold a query of a megabyte, which every scheme in it would have read again.
_USER_INFO = re.compile(
    # Paths of checkpoints and files have colons, and no users. A path makes one slash of two.
    rf"(?P<before>(?:\b(?!(?:tinker|sqlite|duckdb|file):)[a-z][a-z0-9+.-]{{0,30}}:/{{1,3}}|\b{_DATABASE}:)[^\s:@]*:)"
    # To the last @ of the word; where it has none, the password may have spaces.
    rf"(?P<secret>\S{{1,2000}}(?=@)|(?=[^\s@]{{0,200}}\s)(?!\d{{1,5}}(?![\w-])|\s)[^\n@]{{1,200}}(?=@))",
    re.IGNORECASE,
)
# As it is written without a host: the name and the password of a database.
_NO_HOST = re.compile(rf"(?P<before>\b{_DATABASE}:/*[^\s:@/]+:)(?P<secret>(?!\d+\b|\*\*\*)[^\s@/?\"']+)", re.IGNORECASE)
# The options of a database's address, which hold certificates and settings as well.
_OPTIONS = re.compile(rf"(?P<before>\b{_DATABASE}:/[^\s?\"']{{0,1000}}\?)(?P<secret>[^\s\"']+)", re.IGNORECASE)
# Addresses whose user is a token.
_TOKEN_USER = re.compile(r"(?P<before>\b(?:https?|git\+https?):/+)(?P<secret>[^\s:@/]{16,})(?=@)", re.IGNORECASE)
_SETTING = re.compile(
    # As an assignment, or a key of JSON, of Python or of YAML's braces.
    rf"(?P<before>(?<![\w.-])(?:[\w-]+\.)*(?:{_SECRET_NAME})\s*=\s*|[\"'](?:{_SECRET_NAME})[\"']\s*:\s*|"
    rf"[{{,]\s*(?:{_SECRET_NAME}):\s*)"
    r"""(?P<secret>''[^']+''|\\'(?:[^'\\]|\\[^'])*\\'|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\s&;,"')}]+)""",
    re.IGNORECASE,
)
# Each with a character that every text of its form has.
_FORMS = ((_USER_INFO, "@"), (_NO_HOST, ":"), (_OPTIONS, "?"), (_TOKEN_USER, "@"), (_SETTING, ""))
_NAME = re.compile(rf"(?:{_SECRET_NAME})", re.IGNORECASE)


def redact(text: str) -> str:
    """The text with what looks like a password or a key masked; the rest of it stays."""
    for form, character in _FORMS:
        if character in text:
            text = form.sub(_masked, text)
    return text


def holds_secret(text: str) -> bool:
    """Whether a text is, or holds, an address or a connection string with a password in it."""
    return redact(text) != text


def names_secret(key: str) -> bool:
    """Whether the value of a key of this name is a secret."""
    return _NAME.fullmatch(key) is not None


def _masked(match: re.Match[str]) -> str:
    return match[0] if _VARIABLE.fullmatch(match["secret"]) else f"{match['before']}{MASK}"

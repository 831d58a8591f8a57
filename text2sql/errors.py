"""The one exception for mistakes that a person can put right."""

from backends.redaction import redact


class UserError(Exception):
    """Something the user can fix: the message says what is wrong, where, and what to do; passwords in it are masked.

    The command line prints the message without a traceback and exits with status 2.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))

"""The one exception for mistakes that a person can put right."""


class UserError(Exception):
    """Something the user can fix: the message says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with status 2.
    """

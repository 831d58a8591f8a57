"""The one exception for mistakes that a person can mend."""


class UserError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with status 2.
    """

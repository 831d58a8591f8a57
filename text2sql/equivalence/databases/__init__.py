"""The databases made for a pair: `reading` finds what its queries ask, `plan` keeps it, `drawing` makes rows."""

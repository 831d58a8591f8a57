"""All runs of a directory in a browser: every question, its answers, the curves."""

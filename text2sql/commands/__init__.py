"""The commands that are no run: what they do and print, behind the arguments that `text2sql.cli` reads."""

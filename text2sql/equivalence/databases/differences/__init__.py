"""Rows made on purpose, on each of which one kind of mistake shows, whatever the seed."""

"""Queries of another dialect as SQLite has them, from which it is chosen what made databases hold."""

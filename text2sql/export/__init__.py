"""Trained weights for other programs: adapter, merged model, or GGUF for Ollama, with a model card.

The directory is written aside and renamed into place: it is complete or absent, and never overwrites another.
"""

from text2sql.export.run import ExportOptions, export_run, push_run

__all__ = ["ExportOptions", "export_run", "push_run"]

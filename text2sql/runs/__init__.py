"""The directory of a run: its records, budget, environment and session."""

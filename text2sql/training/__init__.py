"""The training loop, for gold answers and for verdicts: steps, schedules, early stopping, checkpoints and recovery."""

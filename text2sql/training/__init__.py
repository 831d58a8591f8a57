"""The training loop: steps, schedules, early stopping, checkpoints and recovery."""

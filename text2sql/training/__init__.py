"""The supervised loop: batches, schedules, early stopping, checkpoints and recovery."""

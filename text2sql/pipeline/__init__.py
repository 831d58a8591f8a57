"""A run, stage by stage: baseline, training, evaluation, report."""

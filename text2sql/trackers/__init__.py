"""Sends a run's metrics and results to TensorBoard, Weights & Biases, trackio or MLflow.

- `trackers`: opens the trackers of a configuration, and sends to all of them; `tracker`: the interface of one.
- `tensorboard_tracker`, `wandb_tracker`, `trackio_tracker`, `mlflow_tracker`: the implementations.
"""

"""What a run measures and comes to, sent to TensorBoard, Weights & Biases, trackio or MLflow as well."""

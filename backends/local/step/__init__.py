"""One training step: micro-batches, losses, gradients, noise, the optimiser."""

"""Learning from verdicts: rollouts, rewards, advantages, and the steps that the training loop takes with them."""

"""Methods, the trainer, teacher signals, cache and rollouts."""

"""Decoding engines for rollouts, teacher texts and predictions alike."""

"""Loading, LoRA, vocabulary alignment, and the embedded tiny family."""

"""What a student shares with its teacher: agreement, text, reasoning, distributions."""

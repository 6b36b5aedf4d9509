"""Which rows train, and which prompts test."""

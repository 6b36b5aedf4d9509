"""A prompt and a response -> what a judge's model reads."""

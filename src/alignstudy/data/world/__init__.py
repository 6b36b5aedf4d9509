"""The small generated world of the demo."""

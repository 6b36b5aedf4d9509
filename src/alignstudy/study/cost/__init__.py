"""What stages cost: measured, counted and estimated."""

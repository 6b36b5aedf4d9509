"""A study file as checked settings."""

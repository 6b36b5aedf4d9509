"""Figures of rates and differences between models."""

"""Figures of judges."""

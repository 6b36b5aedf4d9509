"""Figures of training and of what models write."""

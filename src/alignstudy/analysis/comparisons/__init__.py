"""Pairs of models compared prompt by prompt: differences, intervals, tests."""

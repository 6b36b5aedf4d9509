"""Estimates by resampling: bootstrap, BCa, permutation, clusters."""

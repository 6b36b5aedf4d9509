"""What stages cost: measured while they run, counted in tokens and FLOPs, estimated before."""

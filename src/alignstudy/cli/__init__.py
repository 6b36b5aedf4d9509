"""Arguments in, printing out, nothing else."""

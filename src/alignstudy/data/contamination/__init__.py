"""What training rows share with evaluation prompts."""

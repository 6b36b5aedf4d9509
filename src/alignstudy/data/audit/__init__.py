"""What is in a data set, counted and looked at."""

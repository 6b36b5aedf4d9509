"""Tables, for the run folder and for the report."""

"""Labels of some responses: rates that they correct, and what they say of the judge."""

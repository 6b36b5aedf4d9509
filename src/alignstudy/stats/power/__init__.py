"""Power, smallest detectable differences, numbers of prompts."""

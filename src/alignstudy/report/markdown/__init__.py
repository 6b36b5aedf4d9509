"""The report as Markdown, for terminals and pull requests."""

"""Every table of a study: built once, written as CSV, Markdown and HTML."""

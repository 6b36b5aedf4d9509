"""One row of a file -> one record; one file a format."""

"""Files and folders -> raw rows."""

"""What must hold before and while a model trains."""

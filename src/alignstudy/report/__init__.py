"""Scored responses in; tables, statistics, exported files and the report out."""

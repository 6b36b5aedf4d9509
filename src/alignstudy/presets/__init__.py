"""The studies that the package brings, as YAML."""

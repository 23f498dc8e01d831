"""Hook specifications, discovery, lazy loading and provenance of plugins."""

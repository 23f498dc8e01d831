"""The rules themselves, by kind of plugin."""

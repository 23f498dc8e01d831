"""Protocols: reading, checking and expanding into runs. Loads no torch."""

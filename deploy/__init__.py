"""The kit: see docs/developing.md for its rooms."""

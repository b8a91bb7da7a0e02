"""Looks at an app without a server: what will not work there, and which line fixes it."""

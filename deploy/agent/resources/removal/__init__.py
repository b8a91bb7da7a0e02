"""The end of an app on this server: what of it is removed, and what must not be."""

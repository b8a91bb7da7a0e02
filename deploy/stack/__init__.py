"""What stands on a server: the templates' texts, and the steps that close it."""

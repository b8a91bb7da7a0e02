"""What is shown: events as lines, as plain text or as JSON; tables; hidden prompts."""

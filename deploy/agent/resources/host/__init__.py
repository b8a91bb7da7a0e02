"""The machine itself: its system, names, packages, users, swap and logs, and what was noticed on it."""

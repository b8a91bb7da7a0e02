"""What is uploaded for an app: its files, their hashes, its requirements."""

"""What is uploaded of the app: its files, their hashes, its requirements."""

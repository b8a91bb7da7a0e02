"""The way to a server and the agent on it: SSH and host keys, what is sent, the conversation."""

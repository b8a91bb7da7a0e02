"""The connection to a server and its agent: SSH and host keys, what is sent, the conversation."""

"""What stands on a server: the templates' texts, the steps that close it, and what runs and serves an app.

runners/   what runs an app (one file each)
proxies/   what visitors' connections come to (one file each)
"""

"""What is installed on a server: rendered templates, the steps that close it, and what runs and serves an app.

runners/   what runs an app (one file each)
proxies/   what accepts visitors' connections (one file each)
"""

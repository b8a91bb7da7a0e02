"""Processes beside the web server: workers that run with their release, and timers."""

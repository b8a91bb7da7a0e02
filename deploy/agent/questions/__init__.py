"""Questions to the agent: each module is sent when one of its functions is called.

facts, dependencies   a look at the server; packages compared
journal, oneoff       log lines; a command beside the app
"""

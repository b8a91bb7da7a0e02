"""What an operator may ask the agent: each module is sent when a question of it is asked.

facts, dependencies   a look at the server; packages compared
journal, oneoff       log lines; a command beside the app
"""

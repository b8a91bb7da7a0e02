"""CI keys: SSH keys that can deploy, roll back and list the releases of one app, and do nothing else.

An operator's machine sends the agent and a plan, and is trusted with both. The holder of a CI key can send neither: the
plan is made on the server, by a root-owned copy of the kit, from inputs that are checked.

    keys      the operator's `fab ci.key`: the keys, the copy of the kit, its socket
    kit       the files of that copy
    limits    the limits of a key: what an operator last deployed
    relay     the only program that SSH runs for a key: it connects to the socket
    inputs    the allowed inputs, and their checked values
    server    the conversation, as root: inputs → plan → the same engine
    client    `fab deploy` and `fab rollback` where a CI key let them in
"""

VERBS = ("deploy", "rollback")

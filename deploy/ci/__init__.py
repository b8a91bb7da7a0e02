"""CI keys: SSH keys that can deploy, roll back and list the releases of one app, and do nothing else.

An operator's machine sends the agent and a plan, and is trusted with both. Who holds a CI key can send neither: the
plan is made on the server, by a copy of the kit that is root's there, from inputs that are checked like anybody's.

    keys      the operator's `fab ci.key`: who gets in, the copy of the kit, the socket behind which it stands
    kit       what that copy is made of
    limits    what a key may go up to: as an operator last deployed
    relay     all that SSH lets a key run: it joins the connection to the socket
    inputs    what may come in, and what it is after it was checked
    server    the conversation, as root: inputs → plan → the same engine
    client    `fab deploy` and `fab rollback` where a CI key let them in
"""

VERBS = ("deploy", "rollback")

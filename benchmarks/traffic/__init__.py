"""A small laboratory: hosts in network namespaces of their own, real programs as traffic, then labelled attacks.

`network` makes the hosts and their switch, `servers` and `clients` the normal traffic, `attacks` what is labelled,
`laboratory` runs them in order and captures; `__main__` is the command.
"""

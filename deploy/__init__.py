"""How perwatt reaches a machine: the `perwatt` command, images, and what CI runs.

Not a library: nothing imports this package. The steps themselves live in `embed`, `index`, `service` and `loadtest`.
"""

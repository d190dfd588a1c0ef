"""What can be foreseen to go wrong on the way to machines."""


class DeployError(Exception):
    """A foreseen failure; `str(error)` says what was given, what was expected and what to do next."""


class CountingError(DeployError):
    """Instructions cannot be counted here."""

"""What can be foreseen to go wrong on the way to machines."""


class DeployError(Exception):
    """A foreseen failure; `str(error)` says what was given, what was expected and what to do next."""


class CountingError(DeployError):
    """Instructions cannot be counted here."""


class JobError(DeployError):
    """A job cannot go on; what is done is kept."""


class BadInputError(JobError):
    """The input of a task, or what the settings make of it, is at fault: no other try would help."""

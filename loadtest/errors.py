"""What can go wrong between a question about efficiency and its answer.

LoadTestError           base: a full sentence for the person at the command line
├── RecordError         a run record is damaged, of another format, or does not hold what was asked of it
├── WorkloadError       the queries cannot be sent as they are
├── TargetError         the service under test is not reachable or refuses what we ask
│   └── ServiceLost     it was there when the run began and is not any more
├── GeneratorsAbsent    the generators of a trial did not come, or cannot do what it asks
├── PowerError          a power sensor cannot be read, or two readings may not be divided by each other
├── PriceError          a price is missing, undated or without a source
└── InvalidRun          the measurement was made, and may not be believed (exit status 3)
"""


class LoadTestError(Exception):
    """A foreseen failure; `str(error)` says what was given, what was expected and what to do next."""


class RecordError(LoadTestError):
    """A run record is damaged, has another format, or lacks what was asked of it."""


class WorkloadError(LoadTestError):
    """The queries given cannot be turned into requests."""


class TargetError(LoadTestError):
    """The service under test is not reachable, not ready, or refuses what we ask."""


class ServiceLost(TargetError):  # noqa: N818 – a state, not a fault of ours
    """The service ended, or stopped answering, while it was being loaded."""


class PowerError(LoadTestError):
    """A power sensor cannot be read, or readings of unlike domains were to be divided."""


class PriceError(LoadTestError):
    """A price is missing, or stands without source or date."""


class InvalidRun(LoadTestError):  # noqa: N818 – the field's word for it; INVALID is what the report prints
    """The run was made and may not be believed; the reasons are in the message. Commands exit with status 3."""


class GeneratorsAbsent(LoadTestError):  # noqa: N818 – a state, not a fault of ours
    """The generators that a run was told to expect did not come, or one of them cannot take part: to try again at a
    lower rate would not bring them."""

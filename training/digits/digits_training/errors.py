"""What goes wrong for a reason that the caller can mend."""


class PlanError(ValueError):
    """What was asked for cannot be done; the message says what to ask for instead."""

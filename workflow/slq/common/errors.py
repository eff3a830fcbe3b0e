"""The exception that the command line prints as a message and turns into a non-zero exit status."""


class SlqError(Exception):
    """An error that the user can fix: its message names the file or key, what was expected, and what to do."""

    status = 1  # exit status of the process


class UnknownMethodError(SlqError):
    """A method that a part of the package does not support: it is rejected, and never treated as another method."""

    def __init__(self, method: str, file: str, addition: str) -> None:
        """Build the message that names the method, the file under slq/ where it is missing, and what to add there."""
        super().__init__(f"there is no method '{method}' in slq/{file}; add it there: {addition}")


class VerificationError(SlqError):
    """Fetched data that fails its check: it is not kept, as resuming from it would fail again."""

"""The one exception that the command line prints as a message and turns into a non-zero exit status."""


class SlqError(Exception):
    """Something that a person can put right: names the file or key, what was expected and what to do."""

    status = 1  # of the process that ends with it


class UnknownMethodError(SlqError):
    """A method that a part of the package does not know: it is refused there, and never taken for another."""

    def __init__(self, method: str, file: str, addition: str) -> None:
        super().__init__(f"there is no method '{method}' in slq/{file}; add it there: {addition}")


class VerificationError(SlqError):
    """What has come is not what it should be: it is not kept, as it would be wrong again."""

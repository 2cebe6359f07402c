"""What a caller is told when a request is not answered: one shape for everything, and always what to do about it."""

from __future__ import annotations

from typing import Any

from asr_tutorial.errors import UserError


class ServiceError(Exception):
    """A request that is refused or that cannot be answered.

    Args:
        status: of HTTP: 4xx is the caller's to mend, 5xx is ours.
        code: a word for programs, such as ``too_large``.
        message: what is wrong, for people.
        remedy: what to do.
        retry_after: seconds after which the same request may succeed; None: it will not.
    """

    def __init__(self, status: int, code: str, message: str, remedy: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.remedy, self.retry_after = status, code, message, remedy, retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    def body(self) -> dict[str, Any]:
        """The JSON that goes out."""
        return {"error": {"code": self.code, "message": self.message, "remedy": self.remedy}}


def from_user_error(error: UserError, status: int = 422, code: str = "unusable_input") -> ServiceError:
    """The library's errors say what is wrong, and behind the last colon what to do."""
    message, _, remedy = str(error).rpartition(": ")
    return ServiceError(status, code, message or remedy, remedy if message else "correct the request and send it again")


def queue_full(waiting: int) -> ServiceError:
    return ServiceError(
        429, "queue_full", f"{waiting} requests are waiting already", "send the request again in a second", 1
    )


def stopping() -> ServiceError:
    return ServiceError(503, "stopping", "the service is about to stop", "ask again when it is back", 5)


def too_late(seconds: float) -> ServiceError:
    return ServiceError(
        504,
        "timeout",
        f"there was no answer within {seconds:g} s",
        "send a shorter recording, or ask again when there is less to do",
    )


def caller_left() -> ServiceError:
    """For the statistics: nobody reads it."""
    return ServiceError(499, "caller_left", "the caller closed the connection", "wait for the answer")


def defect() -> ServiceError:
    return ServiceError(500, "defect", "the service has a defect", "tell its operator; the log has the details")

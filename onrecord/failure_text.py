"""What a script says of its own failure, as a failed run keeps it."""

from __future__ import annotations

USER_ERROR = "UserError"
_MOST_CHARACTERS = 3000


def failure_of(error_details: str | BaseException | None, error_code: str | None = None) -> dict[str, str]:
    """`code`, `message` and, of an exception, `details` with the end of its traceback; at most 3,000 characters each.

    >>> failure_of("the loss is not finite", "Diverged")
    {'code': 'Diverged', 'message': 'the loss is not finite'}
    >>> failure_of(ValueError("no rows"))["message"]
    'ValueError: no rows'
    """
    code = str(error_code) if error_code else USER_ERROR
    if not isinstance(error_details, BaseException):
        text = "" if error_details is None else str(error_details)
        return {"code": code, "message": text[:_MOST_CHARACTERS] or "the script said that it failed"}
    import traceback

    said, name = str(error_details), type(error_details).__name__
    message = f"{name}: {said}" if said else name
    details = "".join(traceback.format_exception(error_details))
    return {"code": code, "message": message[:_MOST_CHARACTERS], "details": details[-_MOST_CHARACTERS:].strip()}

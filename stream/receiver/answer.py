"""What a request is answered. Segment retries 503; 400, 401 and 413 lose the event for good (facts on retries)."""

from typing import Final

import msgspec
from aiohttp import web
from multidict import CIMultiDict

_SUCCESS: Final = b'{"success":true}'
_CODES: Final = {400: "invalid_request", 401: "unauthorized", 413: "too_large", 503: "try_again"}


class Refused(Exception):
    """This request is not kept. `after`: seconds until a repeat may succeed. `close`: so is the connection."""

    def __init__(self, status: int, message: str, after: int = 1, close: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.after, self.close = status, message, after, close


def success() -> web.Response:
    """Everything in the request is durable."""
    return web.Response(body=_SUCCESS, content_type="application/json")


def refusal(refused: Refused) -> web.Response:
    """An error in the form of Segment's Tracking API, which its SDKs read (analytics-python: code and message)."""
    body = {"success": False, "message": refused.message, "code": _CODES[refused.status]}
    headers = CIMultiDict({"Retry-After": str(refused.after)} if refused.status == 503 else {})
    response = web.Response(
        body=msgspec.json.encode(body), status=refused.status, headers=headers, content_type="application/json"
    )
    if refused.close or refused.status == 413:
        response.force_close()
    return response

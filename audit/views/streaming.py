"""Answers that are sent piece by piece under ASGI too, where Django would first gather a synchronous one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse


def streamed(request: HttpRequest, answer: StreamingHttpResponse) -> StreamingHttpResponse:
    """The same answer, read one piece at a time on this request's thread while it is sent."""
    if isinstance(request, ASGIRequest):
        answer.streaming_content = _pieces(iter(answer))
    return answer


async def _pieces(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    def following() -> bytes | None:
        return next(parts, None)

    while (part := await sync_to_async(following)()) is not None:
        yield part

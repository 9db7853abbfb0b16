"""How many requests wait at a server, by its /metrics page."""

from __future__ import annotations

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.hub_tools.endpoints.transport import Transport

QUEUE_GAUGES: tuple[bytes, ...] = (
    b"tgi_queue_size",
    b"vllm:num_requests_waiting",
    b"sglang:num_queue_reqs",
    b"sglang_num_queue_reqs",
    b"llamacpp:requests_deferred",
)


class QueueGauge:
    """Reads the queue length from /metrics. A server that refuses once (404, 401 …) is not asked again."""

    def __init__(self, transport: Transport, path: str = "metrics") -> None:
        self._transport, self._path = transport, path
        self._refused = False

    async def read(self) -> float | None:
        """Requests waiting, None where the server does not say or cannot be reached now."""
        if self._refused:
            return None
        try:
            page = await self._transport.get_bytes(self._path)
        except EndpointError as error:
            self._refused = not error.retryable
            return None
        return parse_queue_depth(page)


def parse_queue_depth(page: bytes) -> float | None:
    """Sum of a queue gauge over its labels (one per engine) in a page of the Prometheus text format."""
    total: float | None = None
    for line in page.splitlines():
        name = line.partition(b" ")[0].partition(b"{")[0]
        if name in QUEUE_GAUGES:
            try:
                value = float(line.rpartition(b"}")[2].split()[0] if b"}" in line else line.split()[1])
            except (ValueError, IndexError):
                continue
            total = value + (total or 0.0)
    return total

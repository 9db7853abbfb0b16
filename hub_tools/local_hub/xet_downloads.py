"""The download half of Xet: of which parts of which xorbs a file is made, and those parts.

A client gets the file's hash with the answer of `resolve` (`X-Xet-Hash`), a token at the address beside it, and then a
reconstruction: terms, each some chunks of a xorb, and where the bytes of these chunks are. Layouts as in the Xet
protocol specification (huggingface.co/docs/xet).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, Response

from hf_relabel.builders.disk.atomic_file import write_whole
from hf_relabel.hub_tools.local_hub.call import answer
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.xet import Segment, XetFile, Xorbs, chunk_places

if TYPE_CHECKING:
    from hf_relabel.hub_tools.local_hub.call import Call

_CHUNK_HEADER = 8
READ = "xet-read"
"""What a token for downloads is signed for."""


def note_file(xorbs: Xorbs, file: XetFile, sha256: str) -> None:
    """Remember of what a file is made."""
    told = {"sha256": sha256, "segments": [asdict(segment) for segment in file.segments]}
    _write(xorbs, "files", file.hash, told)
    _write(xorbs, "hashes", sha256, {"hash": file.hash})


def hash_of(xorbs: Xorbs, sha256: str) -> str | None:
    """The Xet hash of a content, None where it did not come by Xet."""
    found = _read(xorbs, "hashes", sha256)
    return None if found is None else str(found["hash"])


def known_file(xorbs: Xorbs, name: str) -> tuple[str, int] | None:
    """The SHA-256 and the size of a file that came by Xet, given its Xet hash; None where none did."""
    xorbs.path(name)  # a hash
    found = _read(xorbs, "files", name)
    return None if found is None else (str(found["sha256"]), sum(part["size"] for part in found["segments"]))


def reconstruction(call: Call, name: str) -> Response:
    """Where the parts of a file are; with `Range` those of a part of it."""
    xorbs = call.hub.xorbs
    xorbs.path(name)  # a hash
    found = _read(xorbs, "files", name)
    if found is None:
        raise HubError(404, "Not found")
    segments = [Segment(**segment) for segment in found["segments"]]
    start, end = _range(call.headers.get("range", ""), sum(segment.size for segment in segments))
    terms: list[dict[str, Any]] = []
    fetch: dict[str, list[dict[str, Any]]] = {}
    position = skipped = 0
    for segment in segments:
        if position < end and position + segment.size > start:
            skipped = skipped if terms else start - position
            chunks = {"start": segment.start, "end": segment.end}
            terms.append({"hash": segment.xorb, "unpacked_length": segment.size, "range": chunks})
            fetch.setdefault(segment.xorb, []).append(_place(call, xorbs, segment, chunks))
        position += segment.size
    return answer({"offset_into_first_range": max(0, skipped), "terms": terms, "fetch_info": fetch})


def xorb_part(call: Call, name: str) -> Response:
    """The bytes of a xorb, at the address that a reconstruction tells; with `Range` a part of them."""
    call.hub.check_link(call.query.get("signed", ""), f"xorb {name}")
    return FileResponse(call.hub.xorbs.path(name), media_type="application/octet-stream")


def _place(call: Call, xorbs: Xorbs, segment: Segment, chunks: dict[str, int]) -> dict[str, Any]:
    with xorbs.path(segment.xorb).open("rb") as file:
        places = chunk_places(file)[segment.start : segment.end]
    first, (last, compressed, *_) = places[0], places[-1]
    signed = call.hub.sign_link(f"xorb {segment.xorb}")
    return {
        "range": chunks,
        "url": f"{call.url}/xorbs/{segment.xorb}?signed={signed}",
        "url_range": {"start": first[0] - _CHUNK_HEADER, "end": last + compressed - 1},
    }


def _range(header: str, size: int) -> tuple[int, int]:
    """The first byte that is wanted and the one after the last. Raises: HubError 416, the file ends before."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", header)
    start, end = (int(found[1]), int(found[2]) + 1 if found[2] else size) if found else (0, size)
    if found and start >= size:
        raise HubError(416, "The file ends before that.")
    return start, min(end, size)


def _write(xorbs: Xorbs, kind: str, name: str, told: dict[str, Any]) -> None:
    folder = _folder(xorbs, kind)
    folder.mkdir(exist_ok=True)
    write_whole(folder / f"{name}.json", json.dumps(told).encode())


def _read(xorbs: Xorbs, kind: str, name: str) -> dict[str, Any] | None:
    path = _folder(xorbs, kind) / f"{name}.json"
    return dict(json.loads(path.read_bytes())) if path.is_file() else None


def _folder(xorbs: Xorbs, kind: str) -> Path:
    return xorbs.folder.with_name(f"xet-{kind}")

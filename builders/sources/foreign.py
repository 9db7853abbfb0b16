"""Files that are not what they are taken for: what they are by their first bytes, and what to do about it."""

from __future__ import annotations

from hf_relabel.builders.errors import SourceError

PARQUET = "Save it as parquet (`frame.to_parquet('rows.parquet')`)."
HEAD_BYTES = 512
_THE_FILE = "Download the file itself: on the Hub its address has `/resolve/`, not `/blob/`."

_KNOWN = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the data", "Fetch the data with `git lfs pull`."),
    (b"PK\x03\x04", "a zip file", "Unpack it with `unzip` and give the folder, or name it .zip."),
    (b"PK\x05\x06", "a zip file with nothing in it", "Was it written whole?"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "Save the sheet as CSV (UTF-8)."),
    (b"\x80\x02", "a Python pickle", PARQUET),
    (b"\x80\x03", "a Python pickle", PARQUET),
    (b"\x80\x04", "a Python pickle", PARQUET),
    (b"\x80\x05", "a Python pickle", PARQUET),
    (b"\x93NUMPY", "a NumPy array", "Save the rows as JSON lines or parquet."),
    (b"\x89HDF", "an HDF5 file", PARQUET),
    (b"SQLite format 3", "an SQLite database", "Save the table as CSV or parquet."),
    (b"ORC", "an ORC file", PARQUET),
    (b"Obj\x01", "an Avro file", PARQUET),
    (b"FEA1", "a Feather file of the first version", PARQUET),
    (b"%PDF", "a PDF", "Give the rows as JSON lines, CSV or parquet."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it with `7z x` and give the folder."),
    (b"Rar!", "a RAR archive", "Unpack it and give the folder."),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "Unpack it with `lz4 -d`."),
    (b"<!doctype html", "a web page", _THE_FILE),
    (b"<html", "a web page", _THE_FILE),
)


def refuse_foreign(name: str, head: bytes) -> None:
    """Say what a file is whose rows cannot be read.

    Args:
        head: its first `HEAD_BYTES`, decompressed.

    Raises:
        SourceError: it is one of those.
    """
    start = head.lstrip().lower()
    for magic, what, remedy in _KNOWN:
        if head.startswith(magic) or (magic.startswith(b"<") and start.startswith(magic)):
            raise SourceError(f"{name}: is {what}. {remedy}")
    if head[257:262] == b"ustar":
        raise SourceError(f"{name}: is a tar archive. Unpack it with `tar xf` and give the folder.")

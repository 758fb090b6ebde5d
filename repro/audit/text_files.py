"""Text as people save it: in UTF-8 or as Excel writes it, compressed or not; anything that is not text is refused by name."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path
from typing import TextIO

GZIP = b"\x1f\x8b"
"""First bytes of a file that gzip has compressed."""
OTHERS = {
    b"PK\x03\x04": "an Excel workbook, or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "Parquet",
}
"""Files that are not text, by their first bytes, whatever their names say."""


def open_text(path: Path) -> TextIO:
    """Open a file to be read as text.

    Args:
        path: The file; its content shows whether it is compressed, and its encoding.

    Returns:
        Its text, without a byte order mark and with line ends unchanged.

    Raises:
        ValueError: If it is another kind of file, or does not say its encoding.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
    if not start.startswith(GZIP):
        return path.open(encoding=_encoding(start), newline="")
    with gzip.open(path) as unpacked:
        start = unpacked.read(4)
    return gzip.open(path, "rt", encoding=_encoding(start), newline="")


def _encoding(start: bytes) -> str:
    """Return the encoding of a text with these first bytes."""
    if start in OTHERS:
        raise ValueError(
            f"by its first bytes it is {OTHERS[start]}, not text; save the table as CSV in UTF-8"
        )
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if 0 in start:
        raise ValueError(
            "by its first bytes it is neither UTF-8 nor UTF-16 with a byte order mark; save the file as UTF-8"
        )
    return "utf-8-sig"

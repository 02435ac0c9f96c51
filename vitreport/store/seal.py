"""The seal of a file: the SHA-256 of all its bytes, kept inside it.

So a part of an unfinished run, which no manifest lists yet, can be told from one that the disk has changed,
and a manifest can vouch for itself. The digest is that of the file with the seal's own digits at zero. It
guards against accidents; against someone who seals anew only a digest that is kept elsewhere does.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

_PLAIN = "pixels"
"""A column whose values hardly ever come twice: a dictionary of them would be larger than they are."""
_KEY = "vitreport:seal"
_BLANK = b"0" * 64
_IN_PARQUET = _KEY.encode() + b"\x18\x40"  # as Thrift writes a string of 64 bytes after its key
_IN_JSON = b'{\n "seal": "'
_AFTER_JSON = b'",\n'


def sealed_table(table: pa.Table) -> bytes:
    """`table` as sealed Parquet (zstd); equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    names = table.column_names
    counted = [name for name in names if name != _PLAIN] if _PLAIN in names else True
    with pq.ParquetWriter(sink, table.schema, compression="zstd", use_dictionary=counted) as writer:
        writer.write_table(table, row_group_size=64)
        writer.add_key_value_metadata({_KEY: _BLANK.decode()})
    content: bytes = sink.getvalue().to_pybytes()
    place = content.rindex(_IN_PARQUET) + len(_IN_PARQUET)
    return content[:place] + _digits(content, place) + content[place + len(_BLANK) :]


def is_sealed_table(content: bytes) -> bool:
    """True where `content` is what `sealed_table` gave, bit by bit."""
    return _IN_PARQUET in content and _holds(content, content.rindex(_IN_PARQUET) + len(_IN_PARQUET))


def sealed_json(text: str) -> bytes:
    """`text`, a JSON object with an indent of 1, with its seal as the first entry."""
    rest = _AFTER_JSON + text.removeprefix("{\n").encode()
    return _IN_JSON + _digits(_IN_JSON + _BLANK + rest, len(_IN_JSON)) + rest


def opened_json(content: bytes) -> str | None:
    """The text that `sealed_json` was given; None where `content` is not what it gave, bit by bit."""
    if not content.startswith(_IN_JSON) or not _holds(content, len(_IN_JSON)):
        return None
    rest = content[len(_IN_JSON) + len(_BLANK) :]
    return "{\n" + rest.removeprefix(_AFTER_JSON).decode() if rest.startswith(_AFTER_JSON) else None


def _digits(content: bytes, place: int) -> bytes:
    """SHA-256 of `content` with zeros at `place`, hex."""
    view = memoryview(content)
    found = hashlib.sha256(view[:place])
    found.update(_BLANK)
    found.update(view[place + len(_BLANK) :])
    return found.hexdigest().encode()


def _holds(content: bytes, place: int) -> bool:
    return content[place : place + len(_BLANK)] == _digits(content, place)

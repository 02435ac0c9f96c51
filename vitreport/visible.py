"""Text that strangers wrote (file names, labels, errors), made fit to be read: nothing in it acts.

Control characters drive terminals and are not allowed in HTML; marks of direction show a line in another
order than it is stored in; halves of surrogate pairs cannot be written as UTF-8.
"""

from __future__ import annotations

_DIRECTION = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_NO_CHARACTERS = (
    *range(0xFDD0, 0xFDF0),
    *(plane * 0x10000 + low for plane in range(17) for low in (0xFFFE, 0xFFFF)),
)
_CONTROLS = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0))
_SEPARATORS = (0x0A, 0x2028, 0x2029)


def code(point: int) -> str:
    r"""A code point as Python writes it: ``\x1b``, ``\u202e``, ``\U0001f600``."""
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


_TEXT = {point: code(point) for point in (*_CONTROLS, *_DIRECTION, *_NO_CHARACTERS, *range(0xD800, 0xE000))}
_LINE = _TEXT | {point: code(point) for point in _SEPARATORS}


def visible(text: str) -> str:
    """`text` with everything that acts instead of showing written as its code; line breaks stay."""
    return text if text.isascii() and text.isprintable() else text.translate(_TEXT)


def visible_line(text: str) -> str:
    """As `visible`, on one line: line breaks are written as their codes too."""
    return text if text.isascii() and text.isprintable() else text.translate(_LINE)

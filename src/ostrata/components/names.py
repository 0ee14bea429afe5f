"""Names of components: text that survives every place where a plan is written.

Layers are called after their components, with commas between; names go into JSON, labels and annotations, which are
UTF-8. So what a name cannot have is written as ``%2C``, by its bytes: control characters, commas, the percent sign
itself, bytes that are not UTF-8, spaces at either end. A long name is cut, and ends in a checksum of the whole.
"""

from __future__ import annotations

import hashlib
import re

MAX_NAME = 200
"""Characters of the longest name."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f,%\ud800-\udfff\u2028\u2029]|^\s|\s$")
_DIGITS = 12


def component_name(text: str) -> str:
    """`text` as a name: itself, unless it has what no name can have. Different texts have different names."""
    name = text
    if not text.isascii() or not text.isprintable() or "," in text or "%" in text or text != text.strip():
        name = _UNSAFE.sub(_encode, text)
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{name[: MAX_NAME - _DIGITS - 1]}~{digest[:_DIGITS]}"


def path_name(path: str) -> str:
    """The name of the component of one path."""
    return component_name(f"/{path}")


def _encode(match: re.Match[str]) -> str:
    data = match[0].encode("utf-8", "surrogateescape")
    return "".join(f"%{byte:02X}" for byte in data)

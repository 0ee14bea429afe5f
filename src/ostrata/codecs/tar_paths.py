"""Names of tar entries as paths of a tree.

Archives spell one path in several ways (``./usr/bin/``, ``usr/bin``, ``usr//bin``); a tree has one spelling:
no leading slash, no empty and no ``.`` components, the root as the empty path. Names that lead out of the
tree are refused.
"""

from __future__ import annotations

from ostrata.errors import MalformedError, escape


def normalise(path: str) -> str:
    """The tree's path for the entry name `path`; '' for the root (``./``).

    Raises: MalformedError for a name that is empty or absolute, or has a NUL or a ``..`` component.
    """
    if not path:
        raise MalformedError("an empty path")
    if "\0" in path:
        raise MalformedError(f"a path with a NUL, '{escape(path)}'")
    if path[0] == "/":
        raise MalformedError(f"an absolute path, '{escape(path)}'")
    if path[0] != "." and path[-1] != "/" and "/." not in path and "//" not in path:
        return path
    components = [component for component in path.split("/") if component not in ("", ".")]
    if ".." in components:
        raise MalformedError(f"a path that leads upwards, '{escape(path)}'")
    return "/".join(components)

"""Directories with an apk database, and commits of them, for tests of plans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.stores.ostree_writer import init_repository

TIMESTAMP = 1_715_947_200  # 2024-05-17


def make_packaged_tree(
    path: Path, packages: Mapping[str, Mapping[str, bytes]], *, versions: Mapping[str, str] | None = None
) -> Path:
    """A tree whose packages have these files; more files of nobody can be added."""
    database = path / "usr/lib/apk/db"
    database.mkdir(parents=True)
    stanzas = []
    for name, files in packages.items():
        lines = [f"P:{name}", f"V:{(versions or {}).get(name, '1.0-r0')}", "A:noarch", f"t:{TIMESTAMP}"]
        for file, content in files.items():
            directory, _, base = file.rpartition("/")
            (path / directory).mkdir(parents=True, exist_ok=True)
            (path / file).write_bytes(content)
            lines += [f"F:{directory}", f"R:{base}"]
        stanzas.append("\n".join(lines) + "\n")
    (database / "installed").write_text("\n".join(stanzas) + "\n")
    return path


def commit_tree(repository: Path, tree: Path, branch: str = "os") -> str:
    """The checksum of a commit of the tree; the repository is made when it is not there."""
    if not (repository / "config").exists():
        init_repository(str(repository), "archive")
    return commit(str(repository), str(tree), CommitOptions(branch, TIMESTAMP)).checksum

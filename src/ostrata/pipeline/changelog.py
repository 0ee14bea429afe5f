"""Which packages are different between two systems: images, OSTree commits or directories.

Two images with rechunk's label are compared by the versions in it, and no layer is read; that label has no sizes.
Otherwise both are asked for their package databases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ostrata.codecs import rechunk_label
from ostrata.errors import MalformedError, NotFoundError, within
from ostrata.inspection.package_changes import PackageChanges, compare_packages
from ostrata.model.image import StoredImage
from ostrata.model.package import Package
from ostrata.packages.databases import read_packages
from ostrata.pipeline.places import open_source
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore, Source
from ostrata.sources.directory import open_directory
from ostrata.sources.image import open_image_source
from ostrata.sources.ostree_source import open_commit
from ostrata.stores.git_log import GitCommit, read_commits
from ostrata.stores.ostree_repository import OstreeRepository
from ostrata.stores.skopeo import without_secrets

REVISION = "org.opencontainers.image.revision"


@dataclass(frozen=True, slots=True)
class Changelog:
    """What is different; `commits` are those between the two images' revisions, newest first, when asked for."""

    changes: PackageChanges
    commits: tuple[GitCommit, ...] = ()


@dataclass(frozen=True, slots=True)
class _System:
    """An image, or what else has a tree: a directory or the revision of a commit, by name."""

    name: str
    image: tuple[BlobStore, StoredImage] | None = None


def changelog(
    old: str,
    new: str,
    *,
    repository: OstreeRepository | None = None,
    git_directory: str | None = None,
    read_databases: bool = False,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> Changelog:
    """The packages that `new` has otherwise than `old`.

    A name is an image reference, or else a revision of `repository`, or without one a directory. `read_databases` asks
    for package databases even where labels would do. `git_directory` is a git repository with the revisions of both
    images. Raises: NotFoundError for a system without packages or an image without a revision; what opening and reading
    raise.
    """
    with _open(old) as before, _open(new) as after:
        commits = () if git_directory is None else read_commits(git_directory, _revision(before), _revision(after))
        labelled = None if read_databases else _in_labels((before, after), progress)
        if labelled is not None:
            return Changelog(compare_packages(*labelled), commits)
        lists = [_in_databases(system, repository, jobs, progress) for system in (before, after)]
        return Changelog(compare_packages(*lists), commits)


@contextmanager
def _open(name: str) -> Iterator[_System]:
    transport, colon, _ = name.partition(":")
    if not colon or "/" in transport:
        yield _System(name)
        return
    with open_source(name) as opened:
        yield _System(name, opened)


def _revision(system: _System) -> str:
    with within(without_secrets(system.name)):
        if system.image is None:
            raise NotFoundError("commits are known of images only", hint="leave out --git-dir")
        revision = system.image[1].config.labels.get(REVISION)
        if not revision:
            raise NotFoundError(f"the image has no label {REVISION}")
        return revision


def _in_labels(systems: Sequence[_System], progress: Progress) -> list[list[Package]] | None:
    """The packages by the labels of both images; None when one of them does not tell."""
    lists = []
    for system in systems:
        label = None if system.image is None else system.image[1].config.labels.get(rechunk_label.LABEL)
        try:
            packages = {} if label is None else rechunk_label.decode(label).packages
        except MalformedError as error:
            progress.warn(f"{without_secrets(system.name)}: not used: {error}")
            packages = {}
        if not packages:
            return None
        lists.append([Package(name, version, "", name, ()) for name, version in packages.items()])
    return lists


def _in_databases(system: _System, repository: OstreeRepository | None, jobs: int, progress: Progress) -> list[Package]:
    with within(without_secrets(system.name)), _source(system, repository, jobs, progress) as source:
        packages, findings = read_packages(source)
        for finding in findings:
            if finding.error is not None:  # its packages would seem to be gone
                raise finding.error
        if not any(packages.values()):
            raise NotFoundError("no package database with packages")
        return [package for found in packages.values() for package in found]


@contextmanager
def _source(system: _System, repository: OstreeRepository | None, jobs: int, progress: Progress) -> Iterator[Source]:
    if system.image is not None:
        with open_image_source(*system.image, jobs=jobs, progress=progress) as image:
            yield image
    elif repository is not None:
        yield open_commit(repository, system.name, jobs=jobs)
    else:
        yield open_directory(system.name, lenient=True)

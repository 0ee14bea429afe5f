"""In a CI job without rights and without tools, what buildah built becomes images of both formats; all judges agree.

A Debian, a tree with the database of rpm and one with that of pacman are built by buildah, in several layers. A script
of a user with nothing but `ostrata` on the PATH builds from each; the judges then say what is in the images: umoci,
podman, ostree.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from judge import rootfs, systems
from judge.chroot import PODMAN, Chroot, JudgeError, run
from judge.conftest import ostrata

pytestmark = pytest.mark.judge

USER = 1000
MAX_LAYERS = 12
FORMATS = ("ostree", "plain")
PACKAGES = {"debian": {"coreutils", "dash"}, "rpm": {"busybox"}, "arch": {"busybox", "iputils", "sudo"}}

SYSTEMS: dict[str, Callable[[Path, Chroot, Path], None]] = {
    "debian": systems.make_debian,
    "rpm": systems.make_rpm,
    "arch": systems.make_arch,
}
STEPS = (
    "mkdir -p opt/app var/lib/app; echo state > var/lib/app/state; echo one > opt/app/one; ln opt/app/one opt/two",
    "rm opt/app/one; echo another > opt/app/one; chmod 711 opt/app; mkfifo usr/share/pipe",
    "rm -r opt/app; mkdir -m 1770 opt/app; echo only > opt/app/only; chown 5:6 opt/app/only; mv etc/passwd etc/users; "
    "ln -s users etc/passwd; mkdir -p usr/lib/modules/6.9.1; echo kernel > usr/lib/modules/6.9.1/vmlinuz",
)
COMMAND = ["/usr/bin/busybox", "grep", "-q", "^root:", "/etc/passwd"]
"""Its exit code tells: what so short a program writes may be gone before podman listens."""

CONTAINERFILE = """
FROM scratch
ADD tree.tar /
{steps}
ENV KEPT=yes
LABEL org.opencontainers.image.title=judged
CMD {command}
"""
BUILD = """
set -- buildah --root /mnt/storage --runroot /run/containers --storage-driver vfs
"$@" build --isolation chroot --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network host --layers=true \
    --tag judged --file /mnt/context/Containerfile /mnt/context >&2
"$@" push --quiet judged oci:/mnt/source:t
umoci unpack --image /mnt/source:t /mnt/unpacked >&2
"""
WITH_PYTHON = """
mount --bind "$1" "$2"
cd "$3"
shift 3
exec "$@"
"""
"""The interpreter where the user may go: it may be in root's home."""

CI = """
set -eu
for tool in podman buildah skopeo umoci ostree rpm dpkg pacman tar; do
    ! command -v $tool || exit 9
done
for format in ostree plain; do
    ostrata build oci:../source:t oci:$format:t --format $format --max-layers $1 --json --tmpdir . > $format.json
    ostrata verify oci:$format:t --quiet
done
"""
SHOWN_BY_PODMAN = """
image=oci:/mnt/ci/$1:t seen=/mnt/podman-$1
shift
identifier=$("$@" pull --quiet "$image")
cp --archive "$("$@" image mount "$identifier")" "$seen"
"$@" image unmount "$identifier" >/dev/null
getcap "$seen/usr/bin/ping"
"""
VFS = (*PODMAN, "--storage-driver", "vfs")
RUN = ("run", "--rm", "--network", "none", "--cgroups", "disabled", "--ulimit", "nofile=1024:1024")
CAPABLE = " cap_net_raw=ep\n"


@dataclass(frozen=True, slots=True)
class Built:
    """`work`/source is buildah's image, `work`/ci/FORMAT ours; `source` is what umoci unpacks from the first."""

    name: str
    work: Path
    source: dict[str, rootfs.Seen]

    def document(self, image_format: str) -> dict[str, Any]:
        """What `build --json` said."""
        found: dict[str, Any] = json.loads((self.work / f"ci/{image_format}.json").read_bytes())
        return found

    def changed(self, image_format: str) -> dict[str, str]:
        """The paths that steps changed, and the step."""
        steps = self.document(image_format)["steps"]
        return {change["path"].lstrip("/"): step["name"] for step in steps for change in step["changes"]}

    def expected(self, image_format: str) -> dict[str, rootfs.Seen]:
        """The source's tree without what steps took out of it."""
        dropped = {path for path, step in self.changed(image_format).items() if step != "etc-to-usr-etc"}
        return {path: entry for path, entry in self.source.items() if path not in dropped}

    def in_a_container(self, image_format: str) -> dict[str, rootfs.Seen]:
        """What runtimes ought to show beside the repository."""
        tree = self.expected(image_format)
        return rootfs.in_a_container(as_committed(tree), with_xattrs=True) if image_format == "ostree" else tree


def as_committed(tree: dict[str, rootfs.Seen]) -> dict[str, rootfs.Seen]:
    """`tree` with its configuration in /usr/etc."""
    return {f"usr/{path}" if path == "etc" or path.startswith("etc/") else path: entry for path, entry in tree.items()}


@pytest.fixture(scope="module", params=sorted(SYSTEMS))
def built(request: pytest.FixtureRequest, chroot: Chroot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """A system, built by buildah and then, by a user without tools, by ostrata."""
    name: str = request.param
    for program in ("rpm", "rpmbuild") if name == "rpm" else ("dpkg-query",) if name == "debian" else ():
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    work = tmp_path_factory.mktemp(name)
    for directory in (work, *work.relative_to(tempfile.gettempdir()).parents[:-1]):
        Path(tempfile.gettempdir(), directory).chmod(0o755)
    SYSTEMS[name](work / "tree", chroot, work)
    build_with_buildah(chroot, work)
    run_ci(work)
    yield Built(name, work, rootfs.see(work / "unpacked/rootfs"))
    for path in work.iterdir():
        run(["rm", "-rf", "--one-file-system", os.fspath(path)], 300)


def build_with_buildah(chroot: Chroot, work: Path) -> None:
    (work / "context").mkdir()
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner"]
    run(["tar", "-C", os.fspath(work / "tree"), *options, "-cf", os.fspath(work / "context/tree.tar"), "."], 60)
    lines = [f"RUN {json.dumps(['/usr/bin/busybox', 'sh', '-ec', f'cd /; {step}'])}" for step in STEPS]
    (work / "context/Containerfile").write_text(
        CONTAINERFILE.format(steps="\n".join(lines), command=json.dumps(COMMAND))
    )
    chroot.shell(work, BUILD, timeout=300)


def run_ci(work: Path) -> None:
    """Run the script as a user who finds nothing but `ostrata`."""
    programs, place, prefix = work / "programs", work / "ci", work / "python"
    for directory in (programs, place, prefix):
        directory.mkdir()
    os.chown(place, USER, USER)
    python = prefix / Path(os.path.realpath(sys.executable)).relative_to(os.path.realpath(sys.base_prefix))
    (programs / "ostrata").write_text(f'#!/bin/sh\nexec {shlex.quote(os.fspath(python))} -m ostrata "$@"\n')
    (programs / "ostrata").chmod(0o755)
    libraries = [path for path in sys.path if path and not path.startswith(sys.base_prefix)]
    environment = (f"PATH={programs}", f"HOME={place}", "LC_ALL=C.UTF-8", f"PYTHONPATH={':'.join(libraries)}")
    as_user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i", *environment)
    run(
        (
            *("unshare", "--mount", "--propagation", "private", "sh", "-euc", WITH_PYTHON, "sh"),
            *(sys.base_prefix, os.fspath(prefix), os.fspath(place)),
            *(*as_user, "/bin/sh", "-c", CI, "ci", str(MAX_LAYERS)),
        ),
        300,
    )


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_image_is_planned_and_keeps_the_config(built: Built, image_format: str) -> None:
    blobs = built.work / "ci" / image_format / "blobs/sha256"
    assert {path.stat().st_uid for path in blobs.iterdir()} == {USER}
    index = json.loads((blobs.parents[1] / "index.json").read_bytes())
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_bytes())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_bytes())["config"]
    assert 3 <= len(manifest["layers"]) <= MAX_LAYERS
    assert config["Cmd"] == COMMAND
    assert "KEPT=yes" in config["Env"]
    assert config["Labels"]["org.opencontainers.image.title"] == "judged"


def test_the_steps_change_what_they_say_and_nothing_else(built: Built) -> None:
    assert built.source["usr/bin/sudo"].mode == 0o4111
    assert built.changed("plain") == {}
    for path, step in built.changed("ostree").items():
        if step != "drop-special":
            assert path.split("/")[0] == {"etc-to-usr-etc": "etc", "keep-var-out": "var"}[step]
    assert [path for path, step in built.changed("ostree").items() if step == "drop-special"] == ["usr/share/pipe"]


@pytest.mark.parametrize("image_format", FORMATS)
def test_umoci_unpacks_the_tree_of_the_source(built: Built, chroot: Chroot, image_format: str) -> None:
    unpacked = f"umoci-{image_format}"
    words = ("umoci", "unpack", "--image", f"/mnt/ci/{image_format}:t", f"/mnt/{unpacked}")
    chroot.run(built.work, *words, timeout=120)
    assert in_a_container(built.work / unpacked / "rootfs", image_format) == built.in_a_container(image_format)
    assert chroot.run(built.work, "getcap", f"{unpacked}/rootfs/usr/bin/ping").endswith(CAPABLE)


@pytest.mark.parametrize("image_format", FORMATS)
def test_podman_shows_the_tree_of_the_source_and_runs_it(built: Built, chroot: Chroot, image_format: str) -> None:
    shown = chroot.shell(built.work, SHOWN_BY_PODMAN, image_format, *VFS, timeout=180)
    assert shown.endswith(CAPABLE)
    seen = in_a_container(built.work / f"podman-{image_format}", image_format)
    assert seen == built.in_a_container(image_format)
    chroot.podman(built.work, *RUN, f"oci:/mnt/ci/{image_format}:t")
    with pytest.raises(JudgeError, match="exit code 1"):
        chroot.podman(
            built.work, *RUN, f"oci:/mnt/ci/{image_format}:t", *COMMAND[:-2], "^nobody of this name", COMMAND[-1]
        )


def in_a_container(place: Path, image_format: str) -> dict[str, rootfs.Seen]:
    """What is at `place`, but for the repository of an encapsulated image."""
    found = rootfs.see(place)
    return rootfs.without_repository(found) if image_format == "ostree" else found


def test_ostree_finds_the_imported_commit_clean_and_checks_the_tree_out(built: Built, chroot: Chroot) -> None:
    image = f"oci:{built.work}/ci/ostree:t"
    words = ("--repo", built.work / "repo", "--mode", "bare", "--write-ref", "os", "--json")
    found = json.loads(ostrata("import", image, *words))
    assert found["commit"] == built.document("ostree")["commit"]
    assert "no errors found" in chroot.run(built.work, "ostree", "--repo=/mnt/repo", "fsck")
    chroot.run(built.work, "ostree", "--repo=/mnt/repo", "checkout", "os", "/mnt/checkout")
    assert rootfs.see(built.work / "checkout") == as_committed(built.expected("ostree"))
    assert chroot.run(built.work, "getcap", "checkout/usr/bin/ping").endswith(CAPABLE)


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("against", ["source:t", "unpacked/rootfs"])
def test_verify_finds_no_difference_to_the_source_but_the_named_steps(
    built: Built, image_format: str, against: str
) -> None:
    other = f"oci:{built.work}/{against}" if against.endswith(":t") else f"{built.work}/{against}"
    found = differences(f"oci:{built.work}/ci/{image_format}:t", other)
    assert {(each["path"].lstrip("/"), each["what"]) for each in found} <= {
        (path, "entry") for path in built.changed(image_format)
    }


def differences(image: str, against: str) -> list[dict[str, Any]]:
    """What `verify --against` finds; it exits with 4 when there is anything."""
    words = [sys.executable, "-m", "ostrata", "verify", image, "--against", against, "--json"]
    done = subprocess.run(words, capture_output=True, timeout=120)
    document = json.loads(done.stdout)
    found: list[dict[str, Any]] = document["differences"]["shown"]
    assert (done.returncode, document["ok"]) == ((4, False) if found else (0, True))
    return found


@pytest.mark.parametrize("image_format", FORMATS)
def test_layers_are_planned_by_the_packages_of_the_database(built: Built, image_format: str) -> None:
    layers = json.loads(ostrata("inspect", f"oci:{built.work}/ci/{image_format}:t", "--json"))["layers"]
    assert PACKAGES[built.name] <= {component for layer in layers for component in layer["components"]}


def test_the_recipe_of_the_readme_builds_the_same_image_from_the_container_storage(built: Built) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    storage = f"containers-storage:[vfs@{built.work}/storage+{built.work}/runroot]localhost/judged"
    words = ("--max-layers", str(MAX_LAYERS), "--previous", "docker://127.0.0.1:1/me/os:latest", "--json")
    found = json.loads(ostrata("build", storage, f"oci:{built.work}/recipe:t", *words))
    assert found["manifest"] == built.document("ostree")["manifest"]
    bootable = json.loads(ostrata("build", storage, f"oci:{built.work}/recipe:b", "--bootable", *words))
    layout = f"oci:{built.work}/recipe:b"
    run(["skopeo", "copy", "--preserve-digests", layout, f"dir:{built.work}/registry"], 60)
    assert hashlib.sha256((built.work / "registry/manifest.json").read_bytes()).hexdigest() == bootable["manifest"][
        "digest"
    ].removeprefix("sha256:")

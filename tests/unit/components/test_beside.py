"""Files whose surroundings tell whose they are."""

import pytest

from ostrata.components.beside import Surroundings, compiled_from
from ostrata.components.claim import Claim


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("usr/lib/python3/__pycache__/os.cpython-311.pyc", "usr/lib/python3/os.py"),
        ("usr/lib/python3/__pycache__/os.cpython-311.opt-2.pyc", "usr/lib/python3/os.py"),
        ("__pycache__/os.pypy39.pyc", "os.py"),
        ("usr/lib/a\nb/__pycache__/ž\udcff.cpython-311.pyc", "usr/lib/a\nb/ž\udcff.py"),
        ("usr/lib/python2/os.pyc", "usr/lib/python2/os.py"),
        ("usr/lib/python2/os.pyo", "usr/lib/python2/os.py"),
        ("usr/share/emacs/site-lisp/a.elc", "usr/share/emacs/site-lisp/a.el"),
        ("usr/lib/os.py", None),
        ("usr/lib/.pyc", None),
        ("usr/lib/pyc", None),
        ("usr/lib/a.doc", None),
        ("usr/lib/a.o", None),
    ],
)
def test_a_compiled_file_is_named_after_what_it_comes_from(path, origin):
    assert compiled_from(path) == origin


def around(claimed, path):
    """The component that the claimed paths (path -> component) give to `path`."""
    claims = [(each, Claim(component, "package", "")) for each, component in claimed.items()]
    found = Surroundings(claims).claim(path)
    return None if found is None else found.component


@pytest.mark.parametrize(
    ("claimed", "path", "component"),
    [
        ({"usr/lib/a/x": "a"}, "usr/lib/a/new", "a"),
        ({"usr/lib/a/x": "a"}, "usr/lib/a/deep/er/new", "a"),
        ({"usr/lib/a/deep/er/x": "a"}, "usr/lib/a/new", "a"),
        ({"usr/lib/a/x": "a", "usr/lib/a/sub/y": "b"}, "usr/lib/a/new", None),
        ({"usr/lib/a/x": "a", "usr/lib/a/sub/y": "b"}, "usr/lib/a/sub/new", "b"),
        ({"usr/lib/a/x": "a", "usr/lib/a/sub/y": "b"}, "usr/lib/a/sub2/new", None),
        ({"usr/lib/a/x": "a"}, "usr/lib/ab/new", None),
        ({"usr/lib/x": "a"}, "usr/lib/new", None),
        ({"opt/x": "a"}, "opt/new", None),
        ({"etc/a/b/c/x": "a"}, "etc/a/b/c/new", None),
        ({"usr/etc/a/b/x": "a"}, "usr/etc/a/b/new", None),
        ({"var/lib/a/x": "a"}, "var/lib/a/new", None),
        ({}, "usr/lib/a/new", None),
    ],
)
def test_a_file_belongs_to_the_one_component_around_it(claimed, path, component):
    assert around(claimed, path) == component
    assert around(dict(reversed(claimed.items())), path) == component

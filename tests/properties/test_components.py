"""Any tree, any packages, any wishes: every path is in exactly one component, and every object whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from ostrata.codecs import component_map, rechunk_label, yaml
from ostrata.components.claim import RULES
from ostrata.components.claims import Claims, claim_paths
from ostrata.components.components import Components, form_components
from ostrata.components.map_claims import MapClaims
from ostrata.errors import LimitError, MalformedError, UnsupportedError
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.model.package import Package
from ostrata.model.tree import Attributes, Directory, RegularFile, Symlink, Tree

REFUSALS = (MalformedError, UnsupportedError, LimitError)
NAMES = st.sampled_from(
    ["usr", "lib", "etc", "var", "boot", "rpm", "__pycache__", "a.py", "a.cpython-311.pyc", "x", "a,b", "ž\n", "\udcff"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
ODD_NAMES = st.sampled_from(["", "s", "a,b", "\n", " ", "x" * 4096, "\udcff", "unclaimed", "caches"])
CONTENTS = (b"", b"1", b"22", b"a longer one")
XATTRS = st.dictionaries(
    st.sampled_from([b"user.component", b"user.update-interval", b"security.selinux"]),
    st.sampled_from([b"", b"x", b"a,b\n", b"\xff", b"7", b"daily", b"-1", b"nan", b"1e400", b"x" * 4096]),
    max_size=2,
)


@dataclass(frozen=True)
class Case:
    """A source with what is known of it; paths of equal content are hard links of one object."""

    tree: Tree
    contents: dict[str, bytes]
    databases: dict[str, list[Package]]
    rules: ComponentMap

    def open(self, path: str):
        yield self.contents[path]

    @property
    def objects(self) -> dict[str, str]:
        return {path: hashlib.sha256(content).hexdigest() for path, content in self.contents.items()}


def attributes(draw) -> Attributes:
    return Attributes(0o755, xattrs=tuple(sorted(draw(XATTRS).items())))


@st.composite
def trees(draw):
    """Entries, parents before what is in them, and contents."""
    entries = {"": Directory(attributes(draw))}
    contents = {}
    for path in draw(st.lists(PATHS, max_size=14, unique=True)):
        names = path.split("/")
        above = ["/".join(names[:depth]) for depth in range(1, len(names))]
        if path in entries or any(isinstance(entries.get(each), RegularFile | Symlink) for each in above):
            continue
        for each in above:
            entries.setdefault(each, Directory(attributes(draw)))
        content = contents[path] = draw(st.sampled_from(CONTENTS))
        if content == b"22":
            entries[path] = Symlink(attributes(draw), "target", "target")
        else:
            entries[path] = RegularFile(attributes(draw), len(content), content.hex())
    return entries, contents


@st.composite
def packages(draw):
    paths = draw(st.lists(PATHS, max_size=6, unique=True))
    ghosts = draw(st.sets(st.sampled_from(paths), max_size=2)) if paths else set()
    digests = {
        path: ("sha256", hashlib.sha256(draw(st.sampled_from(CONTENTS))).hexdigest())
        for path in paths
        if draw(st.booleans())
    }
    return Package(
        draw(ODD_NAMES),
        "1",
        "x",
        draw(ODD_NAMES),
        tuple(paths),
        changed=tuple(sorted(draw(st.sets(st.dates(date(1900, 1, 1), date(2999, 1, 1)), max_size=2)))),
        digests=digests,
        ghosts=frozenset(ghosts),
    )


PATTERNS = st.lists(NAMES | st.sampled_from(["*", "**", "?", "[ab]*"]), min_size=1, max_size=3).map("/".join)
RULE = st.builds(
    MapRule,
    PATTERNS,
    st.sampled_from(["m", "n,o", "x" * 4096, "unclaimed"]),
    st.sampled_from(["glob", "fnmatch", "package"]),
    st.sampled_from([None, 1.0, 365.0]),
    st.sampled_from([None, "alone"]),
    st.just("line 1"),
)


@st.composite
def cases(draw):
    entries, contents = draw(trees())
    databases = {name: draw(st.lists(packages(), max_size=3)) for name in draw(st.sets(st.sampled_from("rd")))}
    return Case(Tree(entries), contents, databases, ComponentMap(tuple(draw(st.lists(RULE, max_size=4)))))


def form(case: Case, by_package: bool) -> tuple[Claims, Components]:
    claims = claim_paths(case, case.databases, case.rules, by_package=by_package)
    return claims, form_components(claims, case.tree.entries, case.objects, case.databases, by_package=by_package)


@given(cases(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_path_is_in_one_component_and_every_object_whole(case, by_package):
    claims, found = form(case, by_package)
    placed = [path for component in found.components for path in component.paths]
    assert sorted(placed) == sorted(case.contents)
    component_of = {path: component.name for component in found.components for path in component.paths}
    for path, checksum in case.objects.items():
        assert component_of[path] == found.claims[checksum].component
    names = [component.name for component in found.components]
    assert names == sorted(set(names))
    assert all(0 < len(name) <= 200 and "," not in name and name.isprintable() for name in names)
    assert {claim.rule for claim in claims.by_path.values()} <= set(RULES)
    assert 0 <= found.coverage.percent <= 100
    assert sum(component.size for component in found.components) == found.coverage.all_bytes
    assert all("\n" not in note and note.isprintable() for note in claims.notes)


@given(cases(), st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_the_order_of_packages_and_databases_does_not_matter(case, by_package, random):
    shuffled = {name: random.sample(found, len(found)) for name, found in reversed(case.databases.items())}
    one, other = form(case, by_package)[1], form(replace(case, databases=shuffled), by_package)[1]
    assert one.components == other.components
    assert one.claims == other.claims


@given(cases())
@settings(max_examples=80, deadline=None)
def test_a_rule_of_the_map_is_used_or_reported(case):
    claims, _ = form(case, False)
    whys = {claim.why for claim in claims.by_path.values() if claim.rule == "map"}
    unused = set(map(id, claims.unused))
    for rule in case.rules.rules:
        alone = MapClaims(ComponentMap((rule,)), [each for found in case.databases.values() for each in found])
        if not alone.claims(case.contents):
            assert id(rule) in unused
    assert bool(whys) == any(id(rule) not in unused for rule in case.rules.rules)


# Files that users write, and labels that anybody does


MAPS = {
    "map.yml": b'/usr/lib: a\n"**/*.x": {component: "b,c", interval: weekly, layer: true}\npackage:k*: k\n',
    "map.json": b'{"/usr/lib": "a", "/b": {"component": "c", "interval": 3.5, "layer": null}}',
    "map.tsv": b"/usr/lib\ta\n# remark\n/b\tc\t7\tlayer\r\n",
    "meta.yml": b"version: 1\nmeta:\n  k:\n    packages: [k*]\n    files:\n      - /usr/*\n    dedicated: true\n",
}
LABEL = b'{"version": 2, "uniq": "x", "layers": [["a", "dedi:b"], []], "packages": {"a": "1-2"}, "revision": "abc"}'
DECODERS = [
    *((lambda data, name=name: component_map.decode(data, name=name), data) for name, data in MAPS.items()),
    (lambda data: yaml.decode(data, what="a map"), MAPS["meta.yml"]),
    (lambda data: rechunk_label.decode(data.decode("utf-8", "surrogateescape")), LABEL),
]
FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)
PIECES = st.lists(
    st.sampled_from([b"/a", b": ", b"\n", b"  ", b"- ", b"{", b"}", b"[", b"]", b'"', b"\t", b"&a", b"*a", b"!!x ",
                     b"?", b"|", b">", b"%", b"---\n", b"#", b"\xff", b"\0", b"null", b"meta", b"component", b"1e999"])
).map(b"".join)  # fmt: skip


@given(st.sampled_from(DECODERS), st.binary() | PIECES)
@settings(max_examples=300, deadline=None)
def test_decoders_refuse_any_bytes_with_our_errors_only(decoder, data):
    try:
        decoder[0](data)
    except REFUSALS as error:
        assert str(error).splitlines()[0].isprintable()


@given(st.sampled_from(DECODERS), FLIPS, st.none() | st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_decoders_refuse_changed_bytes_with_our_errors_only(decoder, flips, cut):
    changed = bytearray(decoder[1])
    for place, value in flips:
        changed[int(place * len(changed))] = value
    try:
        decoder[0](bytes(changed if cut is None else changed[: int(cut * len(changed))]))
    except REFUSALS as error:
        assert str(error).splitlines()[0].isprintable()

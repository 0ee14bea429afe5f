"""Fuzz one decoder: python fuzz/run.py TARGET [libFuzzer's options and corpus directories]. Needs atheris.

New inputs go to the first directory; one that fails is written to ./crash-HASH.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found,unused-ignore]

with atheris.instrument_imports(include=["ostrata"]):
    from targets import TARGETS


def main() -> None:
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *options], lambda data: (target(data), None)[1])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

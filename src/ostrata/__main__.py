"""``python -m ostrata``."""

from ostrata.cli import main

if __name__ == "__main__":
    main()

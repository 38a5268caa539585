"""``python -m opencolossus`` and ``torchrun -m opencolossus`` are the command ``colossus``."""

from opencolossus.cli import main

if __name__ == "__main__":
    main()

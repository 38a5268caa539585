"""``python -m opencolossus``, and with it ``torchrun -m opencolossus train SPEC``."""

from __future__ import annotations

from opencolossus.cli import main

if __name__ == "__main__":
    main()

"""Distil a named-entity recogniser: `accelerate launch run_distill.py CONFIG.yaml [--flag value ...]`."""

import sys

from hf_distill.cli import main

if __name__ == "__main__":
    sys.exit(main())

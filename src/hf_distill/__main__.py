"""`python -m hf_distill` is `run_distill.py`, `accelerate launch -m hf_distill` too."""

import sys

from .cli import main

sys.exit(main())

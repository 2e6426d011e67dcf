"""`python -m hf_distill` and `accelerate launch -m hf_distill`, the same as `run_distill.py`."""

import sys

from .cli import main

sys.exit(main())

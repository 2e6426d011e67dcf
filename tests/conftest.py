"""The libraries' caches go to a folder that ends with the session, and the Hub is out of reach."""

import os
import tempfile

from hypothesis import settings

# Set on import: `datasets` reads them once, when it is first imported.
CACHE = tempfile.TemporaryDirectory(prefix="hf_distill-tests-")
os.environ["HF_HOME"] = CACHE.name
os.environ["HF_DATASETS_CACHE"] = os.path.join(CACHE.name, "datasets")
os.environ["HF_HUB_OFFLINE"] = "1"

# A slow machine fails no test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

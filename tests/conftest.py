"""The libraries' caches go to a folder that ends with the session, and the Hub is out of reach."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Set on import: `datasets` reads them once, when it is first imported.
CACHE = tempfile.TemporaryDirectory(prefix="hf_distill-tests-")
os.environ["HF_HOME"] = CACHE.name
os.environ["HF_DATASETS_CACHE"] = os.path.join(CACHE.name, "datasets")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, one per core

import tiny  # noqa: E402

# Behind all else: a file of benchmarks/ may be called like some library.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

# A slow machine fails no test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

FAMILIES = {"wordpiece": tiny.wordpiece, "byte-level": tiny.byte_level, "unigram": tiny.unigram}


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.wordpiece()


@pytest.fixture(params=FAMILIES)
def any_tokenizer(request):
    """A tokenizer of each family."""
    return FAMILIES[request.param]()

"""The tests that transformers has for each of its models, for the BiLSTM."""

import importlib
import subprocess
import sys
import tarfile
import unittest
import zipfile
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES

from hf_distill.runtime.configuration_bilstm import BiLSTMConfig
from hf_distill.runtime.modeling_bilstm import BiLSTMForTokenClassification

PINNED = Path(__file__).parents[2] / "constraints.txt"
SIZES = {"vocab_size": 99, "hidden_size": 16, "max_position_embeddings": 32, "pad_token_id": 0}
KINDS = {
    "Train": {},
    "Bert": {"embedding_type": "bert", "bert_config": SIZES},
    "Features": {"word_feature_rows": 5, "classifier_size": 4},
    "Stacks": {"num_stacks": 2, "embedding_size": 8},
}
# What the modules of common tests import of folders that the source distribution lacks: tests of generation and of
# torch.export, neither of which an LSTM over packed sequences is for.
ABSENT = {
    "__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin: ...",
    "generation/test_utils.py": "class GenerationTesterMixin: ...",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}",
}


def fetch(version: str, folder: Path, temporary: Path) -> None:
    """Put the common tests of a version of transformers, and `parameterized`, which they need, into a folder."""
    wanted = [f"transformers=={version}", "parameterized", "--no-binary", "transformers", "--no-deps"]
    command = [sys.executable, "-m", "pip", "download", *wanted, "--timeout", "5", "--retries", "0", "--dest"]
    try:
        done = subprocess.run([*command, temporary], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("the common tests of transformers cannot be fetched within a minute")
    if done.returncode:
        pytest.skip(f"the common tests of transformers cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    package = folder / "transformers_tests"
    for name, text in ABSENT.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(text)
    with tarfile.open(temporary / f"transformers-{version}.tar.gz") as archive:
        for name in ("test_modeling_common.py", "test_configuration_common.py"):
            (package / name).write_bytes(archive.extractfile(f"transformers-{version}/tests/{name}").read())
    [wheel] = temporary.glob("parameterized-*.whl")
    zipfile.ZipFile(wheel).extractall(folder)  # last: shows that all is there


@pytest.fixture
def common(request, tmp_path, monkeypatch):
    """The modules of transformers' common tests of models and of configurations."""
    version = transformers.__version__
    if f"transformers=={version}" not in PINNED.read_text(encoding="utf-8").split():
        pytest.skip(f"the common tests are run with the pinned transformers, not with {version}")
    folder = request.config.cache.mkdir(f"transformers-tests-{version}")
    if not (folder / "parameterized").exists():
        fetch(version, folder, tmp_path)
    monkeypatch.syspath_prepend(folder)
    # Thus the tests know that the model has labels.
    monkeypatch.setitem(MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES, "bilstm", "BiLSTMForTokenClassification")
    return [importlib.import_module(f"transformers_tests.test_{name}_common") for name in ("modeling", "configuration")]


class ModelTester:
    """What the common tests ask of a model's own: a configuration and inputs."""

    batch_size, seq_length, hidden_size, num_hidden_layers = 3, 7, 16, 2
    is_training = True

    def __init__(self, options: dict):
        self.options = options

    def get_config(self) -> BiLSTMConfig:
        sizes = {"embedding_size": self.hidden_size, "hidden_size": 8}
        return BiLSTMConfig(99, num_labels=3, **sizes | self.options)

    def prepare_config_and_inputs_for_common(self) -> tuple[BiLSTMConfig, dict]:
        mask = torch.ones(self.batch_size, self.seq_length, dtype=torch.long)
        mask[1, 4:] = 0
        inputs = {"input_ids": torch.randint(1, 99, mask.shape) * mask, "attention_mask": mask}
        if self.options.get("word_feature_rows"):
            inputs["word_features"] = torch.randint(1, 15, (*mask.shape, 3)) * mask[..., None]
        return self.get_config(), inputs


@pytest.mark.filterwarnings("ignore")
def test_the_common_tests_of_transformers_pass(common):
    modeling, configuration = common

    class CommonTests(modeling.ModelTesterMixin, unittest.TestCase):
        all_model_classes = (BiLSTMForTokenClassification,)
        has_attentions = False
        test_can_init_all_missing_weights_before_2023 = True

        def setUp(self):
            self.model_tester = ModelTester(self.options)

        def test_config(self):
            properties = ["vocab_size", "hidden_size", "num_hidden_layers"]
            tester = configuration.ConfigTester(self, config_class=BiLSTMConfig, common_properties=properties)
            tester.run_common_tests()

    suite = unittest.TestSuite()
    for name, options in KINDS.items():
        kind = type(name, (CommonTests,), {"options": options})
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(kind))
    result = unittest.TestResult()
    suite.run(result)
    assert not [f"{test}:\n{trace}" for test, trace in result.failures + result.errors]
    assert result.testsRun - len(result.skipped) > 150

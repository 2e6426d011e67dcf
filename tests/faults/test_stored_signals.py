"""Stored signals that are not what was stored."""

import shutil

import numpy as np
import pytest
import tiny
import torch

from hf_distill.runtime.tags import UserError
from hf_distill.teachers.signals import SignalStore


def flip_signs(path):
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 400, 4):
        content[place + 3] ^= 0x80
    path.write_bytes(content)


DAMAGES = {
    "signs flipped": flip_signs,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:500]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"p53\n" * 100),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_labelled_anew(tmp_path, damage, caplog):
    teacher, text = tiny.teacher(), tiny.corpus(20)
    store = SignalStore(teacher, text, tmp_path)
    store.compute()
    expected = np.concatenate([signals.logits for signals in store.fetch(range(20))])
    [shard] = store.folder.glob("*.arrow")
    DAMAGES[damage](shard)
    again = SignalStore(teacher, text, tmp_path)
    again.compute()
    np.testing.assert_array_equal(np.concatenate([signals.logits for signals in again.fetch(range(20))]), expected)
    assert f"{shard}: is not as it was written: set aside as {shard.stem}.damaged" in caplog.text
    assert sorted(path.name for path in store.folder.iterdir()) == sorted([shard.name, f"{shard.stem}.damaged"])


def test_a_foreign_file_is_set_aside(tmp_path):
    store = SignalStore(tiny.teacher(), tiny.corpus(5), tmp_path)
    store.compute()
    [shard] = store.folder.glob("*.arrow")
    shutil.copy(shard, store.folder / "copy.arrow")
    assert len(SignalStore(tiny.teacher(), tiny.corpus(5), tmp_path).missing) == 0
    assert (store.folder / "copy.damaged").exists()


def test_answers_that_are_no_numbers_are_not_stored(tmp_path):
    teacher = tiny.teacher()
    teacher.model.classifier.bias[0] = torch.nan
    store = SignalStore(teacher, tiny.corpus(5), tmp_path)
    with pytest.raises(UserError, match="not all finite numbers"):
        store.compute()
    assert not list(store.folder.glob("*.arrow"))

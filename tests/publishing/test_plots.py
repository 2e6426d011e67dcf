from measured import HISTORY
from PIL import Image

from hf_distill.publishing.plots import Point, f1_against_latency, training_curve


def test_pictures_of_little(tmp_path):
    """A single term, a single evaluation, latencies alike; and nothing at all."""
    for number, history in enumerate(([HISTORY[1]], [{"step": 5, "loss": 2.0, "logit_loss": 2.0}], HISTORY)):
        training_curve(history).savefig(tmp_path / f"{number}.png")
    with Image.open(tmp_path / "0.png") as one, Image.open(tmp_path / "2.png") as both:
        assert 2 * one.width == both.width
    assert training_curve([HISTORY[-1]]) is None and training_curve([HISTORY[0]], loss=False) is None
    f1_against_latency({"one": Point(2, 0.8, 0.7, 0.9), "other": Point(2.1, 0, 0, 0)}).savefig(tmp_path / "3.png")

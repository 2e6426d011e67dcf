from pathlib import Path

import yaml

from hf_distill.workflow.trained_teachers import COMPANION_MODEL, COMPANION_TRAINING


def test_a_companion_is_the_small_student_of_the_recipe():
    recipe = yaml.safe_load((Path(__file__).parents[2] / "configs" / "recipe_small.yaml").read_text())
    about_the_run = ("output_dir", "transfer_sentences", "export")
    own = {name: value for name, value in recipe.items() if name not in about_the_run}
    assert {name: float(value) if name == "learning_rate" else value for name, value in own.items()} == {
        **COMPANION_MODEL,
        **COMPANION_TRAINING,
    }

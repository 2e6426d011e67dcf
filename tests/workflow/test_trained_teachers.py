import dataclasses
from pathlib import Path

import tiny

from hf_distill.parsing import parse_arguments
from hf_distill.workflow.trained_teachers import companion_arguments

SMALL = Path(__file__).parents[2] / "configs" / "recipe_small.yaml"


def test_a_companion_is_the_small_student_of_the_recipe():
    """Whatever the run's own student is."""
    command = [*tiny.DATA, "--teacher_model_name_or_path", "teacher", "--output_dir", "out"]
    own = "--model_name auto --student_layers 0 2 --dropout 0.3 --companions 2 --temperature 3 --seed 6"
    companion = companion_arguments(parse_arguments([*command, *own.split()]), 1)
    small = parse_arguments([str(SMALL), *command, "--output_dir", "out/companion-1", "--seed", "7"])
    assert companion.model == small.model and companion.data == small.data
    about_the_run = ("save_total_limit", "export")
    for field in dataclasses.fields(small.training):
        own, expected = (getattr(args, field.name) for args in (companion.training, small.training))
        assert field.name in about_the_run or own == expected, field.name

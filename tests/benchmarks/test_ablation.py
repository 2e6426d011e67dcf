import json

import ablation
import reproduce
import tiny

from hf_distill import load_tsv
from hf_distill.files import write_columns


def test_the_ablation_compares_each_row_with_the_recipe_of_its_seed(tmp_path):
    (tmp_path / "bc2gm").mkdir()
    tiny.write_tsv(tmp_path / "bc2gm" / "devel.tsv", 40, seed=2)
    devel = load_tsv(str(tmp_path / "bc2gm" / "devel.tsv"), "IOBES")
    words, gold = devel["tokens"][:], devel["tags"][:]
    nothing, dashes = ([[mark] * len(tags) for tags in gold] for mark in ("O", "-"))
    for name, seed, tags, f1 in (("recipe", 1, gold, 1.0), ("IOB2", 1, nothing, 0.0), ("recipe", 2, gold, 0.5)):
        folder = ablation.folder_of(tmp_path, name, seed)
        folder.mkdir(parents=True)
        write_columns(folder / "predictions_eval.tsv", words, gold, dashes, dashes, tags, dashes)
        (folder / "all_results.json").write_text(json.dumps({"eval_f1": f1}))
        (folder / "row.json").write_text(json.dumps({"seconds": 60 * seed}))
    (ablation.folder_of(tmp_path, "IOB2", 2)).mkdir()  # interrupted
    assert ablation.table(tmp_path, tmp_path).splitlines()[2:] == [
        "| recipe | 1.0000, 0.5000 | 0.7500 |  | 2.0 |",
        "| IOB2 | 0.0000 | 0.0000 | -1.0000 (-1.0000 to -1.0000) | 1.0 |",
    ]


def test_every_row_of_the_ablation_changes_the_recipe():
    recipe = reproduce.yaml.safe_load((reproduce.ROOT / "configs" / "recipe_small.yaml").read_text()) | ablation.BASE
    for name, change in ablation.ROWS.items():
        changed = {key: value for key, value in change.settings.items() if recipe.get(key) != value}
        assert changed == change.settings, name

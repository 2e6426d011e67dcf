import json

import ablation
import tiny

from hf_distill import load_tsv
from hf_distill.files import write_columns


def test_the_ablation_compares_the_seeds_that_a_row_shares_with_the_recipe(tmp_path):
    (tmp_path / "bc2gm").mkdir()
    tiny.write_tsv(tmp_path / "bc2gm" / "devel.tsv", 40, seed=2)
    devel = load_tsv(str(tmp_path / "bc2gm" / "devel.tsv"), "IOBES")
    words, gold = devel["tokens"][:], devel["tags"][:]
    nothing, dashes = ([[mark] * len(tags) for tags in gold] for mark in ("O", "-"))
    # The seed that the recipe lacks would make the difference smaller.
    rows = [("recipe", 1, gold, 1.0), ("recipe", 2, gold, 0.5), ("IOB2", 1, nothing, 0.0), ("IOB2", 3, gold, 1.0)]
    for name, seed, tags, f1 in rows:
        folder = ablation.folder_of(tmp_path, name, seed)
        folder.mkdir(parents=True)
        write_columns(folder / "predictions_test.tsv", words, gold, dashes, dashes, tags, dashes)
        (folder / "all_results.json").write_text(json.dumps({"test_f1": f1, "eval_f1": 0.25, "unrelated": 1}))
    (ablation.folder_of(tmp_path, "IOB2", 2)).mkdir()  # interrupted
    ablation.write_table(tmp_path, tmp_path)
    assert (tmp_path / "ablation.md").read_text().splitlines()[2:] == [
        "| recipe | 1.0000, 0.5000 | 0.7500 |  |",
        "| IOB2 | 0.0000, 1.0000 | 0.5000 | -1.0000 (-1.0000 to -1.0000) |",
    ]
    assert json.loads((tmp_path / "ablation.json").read_text())[0] == {
        "row": "recipe",
        "seed": 1,
        "test_f1": 1.0,
        "eval_f1": 0.25,
    }


def test_every_row_of_the_ablation_changes_the_recipe(tmp_path):
    files = {part: tmp_path / part for part in ("train", "val", "test", "text")}
    recipe = ablation.settings("recipe", files)
    for name, changes in ablation.ROWS.items():
        assert all(recipe.get(key) != value for key, value in changes.items()), name

import json

import ablation
import tiny

from hf_distill.files import write_columns


def test_the_ablation_compares_the_seeds_that_a_row_shares_with_the_recipe(tmp_path):
    gold = tiny.corpus(40, 2)["tags"][:]
    words, nothing, dashes = ([[mark] * len(tags) for tags in gold] for mark in ("a", "O", "-"))
    # The seed that the recipe lacks would make the differences smaller.
    rows = [
        ("recipe", 1, 1.0, gold, gold),
        ("recipe", 2, 0.5, gold, gold),
        ("IOB2", 1, 0.0, nothing, gold),
        ("IOB2", 3, 1.0, gold, gold),
    ]
    for name, seed, f1, test, val in rows:
        folder = ablation.folder_of(tmp_path, name, seed)
        folder.mkdir(parents=True)
        for corpus, tags in (("test", test), ("eval", val)):
            write_columns(folder / f"predictions_{corpus}.tsv", words, gold, dashes, dashes, tags, dashes)
        (folder / "all_results.json").write_text(json.dumps({"test_f1": f1, "eval_f1": 0.25, "unrelated": 1}))
    (ablation.folder_of(tmp_path, "IOB2", 2)).mkdir()  # interrupted
    ablation.write_table(tmp_path)
    recipe, changed = (tmp_path / "ablation.md").read_text().splitlines()[2:]
    assert recipe == "| recipe | 1.0000, 0.5000 | 0.7500 |  |  |"
    # Half of all mentions found is an F1 of 2/3.
    assert changed.startswith("| IOB2 | 0.0000, 1.0000 | 0.5000 | -1.0000 (-1.0000 to -1.0000) | -0.3333 (")
    figures = json.loads((tmp_path / "ablation.json").read_text())
    assert figures[0] == {"row": "recipe", "seed": 1, "test_f1": 1.0, "eval_f1": 0.25}


def test_every_row_of_the_ablation_changes_the_recipe(tmp_path):
    files = {part: tmp_path / part for part in ("train", "val", "test", "text")}
    recipe = ablation.settings("recipe", files)
    for name, changes in ablation.ROWS.items():
        assert all(recipe.get(key) != value for key, value in changes.items()), name

import json
import sys
from pathlib import Path

import tiny

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import ablation  # noqa: E402
import reproduce  # noqa: E402


def finish(folder, epochs, f1, seconds=None, words=1_000_000):
    folder.mkdir(parents=True)
    student = {"bytes_on_disk": 3 * 2**20, "batch_1": {"p50_ms": 1.25}, "padded_202": {"mean_ms": 2.5}}
    results = {"train_mentions": 12345, "train_words": words, "eval_token_f1": 0.5, "eval_f1": f1}
    contents = {
        "job": {"num_train_epochs": epochs, "do_train": True},
        "all_results": results,
        "benchmark": {"student": student},
    }
    if seconds:
        contents["row"] = {"seconds": seconds}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_the_table_holds_finished_rows_in_the_order_of_the_reference(tmp_path):
    finish(tmp_path / "bilstm-56k-2-epochs", 2.0, 0.75, seconds=90)
    finish(tmp_path / "bilstm-56k-bert", 50.0, 0.8)
    finish(tmp_path / "labels-15k", 50.0, 0.7)
    (tmp_path / "bilstm-262k").mkdir()  # interrupted
    assert reproduce.table(tmp_path).splitlines()[2:] == [
        "| labels-15k | 12,345 | 50 | 0.5000 | 0.7742 | 0.7000 | 3.0 | 1.25 | 2.50 |  |  |",
        "| bilstm-56k | 12,345 | 2 | 0.5000 | 0.8010 | 0.7500 | 3.0 | 1.25 | 2.50 | 1.64 | 1.5 |",
        "| bilstm-56k-bert | 12,345 | 50 | 0.5000 | 0.8130 | 0.8000 | 3.0 | 1.25 | 2.50 | 1.79 |  |",
    ]


def test_the_plot_is_drawn_from_what_is_there(tmp_path):
    reproduce.plot(tmp_path)
    empty = (tmp_path / "augmentation.png").read_bytes()
    finish(tmp_path / "bilstm-56k-2-epochs", 2.0, 0.75)
    reproduce.plot(tmp_path)
    assert (tmp_path / "augmentation.png").read_bytes() != empty


def test_the_ablation_compares_each_row_with_the_recipe_of_its_seed(tmp_path):
    (tmp_path / "bc2gm").mkdir()
    tiny.write_tsv(tmp_path / "bc2gm" / "devel.tsv", 40, seed=2)
    gold = (tmp_path / "bc2gm" / "devel.tsv").read_text()
    nothing = "\n".join(line and line.split("\t")[0] + "\tO" for line in gold.split("\n"))
    for name, seed, text, f1 in (("recipe", 1, gold, 1.0), ("IOB2", 1, nothing, 0.0), ("recipe", 2, gold, 0.5)):
        folder = ablation.folder_of(tmp_path, name, seed)
        folder.mkdir(parents=True)
        (folder / "predictions_eval.tsv").write_text(text)
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

import json

import reproduce


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

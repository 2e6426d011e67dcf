from hf_distill.evaluation.error_analysis import classify_errors


def test_kinds_of_errors():
    gold = [("GENE", 0, 2), ("GENE", 3, 4), ("GENE", 5, 8), ("CELL", 9, 10), ("GENE", 11, 13), ("GENE", 13, 15)]
    found = [("GENE", 0, 2), ("CELL", 3, 4), ("GENE", 5, 6), ("CELL", 7, 9), ("GENE", 12, 14), ("GENE", 16, 17)]
    assert classify_errors(gold, found) == (
        ["right", "type", "boundary", "missed", "boundary", "boundary"],
        ["right", "type", "boundary", "boundary", "boundary", "spurious"],
    )
    assert classify_errors(gold, []) == (["missed"] * 6, []) and classify_errors([], found) == ([], ["spurious"] * 6)
    # Mentions that touch do not overlap.
    assert classify_errors([("GENE", 0, 2)], [("GENE", 2, 3)]) == (["missed"], ["spurious"])

from hf_distill.evaluation.cost import benchmark_table, exported_table


def figures(size, milliseconds):
    batches = {"p50_ms": milliseconds, "p95_ms": 2 * milliseconds, "words_per_second": 30_000 / milliseconds}
    return {
        "parameters": 1e6 * size,
        "bytes_on_disk": 4e6 * size,
        "peak_memory_bytes": 5e8,
        "libraries_memory_bytes": 4e8,
        "batch_1": batches,
        "batch_32": batches,
        "padded_202": {"mean_ms": milliseconds, "std_ms": 0.5},
    }


def test_the_table_says_how_many_times_better_the_student_is():
    report = {"hardware": "A Processor", "device": "cpu", "threads": 2, "dtype": "float32"}
    report |= {"teacher": figures(100, 25.0), "student": figures(8, 2.0)}
    first, *lines = benchmark_table(report).splitlines()
    assert "float32 on A Processor, 2 thread(s)" in first
    rows = [" ".join(line.split()) for line in lines]
    assert rows[0] == "teacher student gain"
    for row in (
        "parameters (M) 100.00 8.00 12.50 x",
        "on disk (MB) 400.00 32.00 12.50 x",
        "peak memory (MB) 500.00 500.00 1.00 x",
        "of which libraries 400.00 400.00",
        "batch 1: p50 (ms) 25.00 2.00 12.50 x",
        "p95 (ms) 50.00 4.00 12.50 x",
        "words per second 1,200 15,000 12.50 x",
        "standard deviation 0.50 0.50",
    ):
        assert row in rows
    alone = benchmark_table({name: value for name, value in report.items() if name != "teacher"})
    assert "gain" not in alone and " x" not in alone


def test_a_line_says_where_int8_is_not_the_quickest():
    report = {"int8": {"one_text": 1200.0, "many_texts": 1500.0}, "fp32": {"one_text": 900.0, "many_texts": 1600.0}}
    *_, int8, fp32, line = exported_table(report).splitlines()
    assert int8.split() == ["int8", "1,200", "1,500"] and fp32.split() == ["fp32", "900", "1,600"]
    assert "not the quickest for many texts:" in line
    assert exported_table({"int8": report["fp32"], "fp32": report["fp32"]}).splitlines()[-1] == fp32

"""The worker of demo/web gives the vectors of tests/runtime: words, windows, tags and mentions."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "demo" / "web"
VECTORS = ROOT / "tests" / "runtime" / "vectors"
if not shutil.which("node"):
    pytest.skip("the demo's worker is tested with node", allow_module_level=True)
if not (SOURCE / "node_modules").exists():
    pytest.skip("the demo has not been installed: npm --prefix demo/web ci", allow_module_level=True)

# What the worker finds in a browser. (It starts by itself, with a network that is none, and complains of that.)
BEFORE = """
import { readFileSync } from "node:fs";

globalThis.self = { name: process.env.STUDENT };
globalThis.postMessage = () => {};
globalThis.fetch = async (url) => new Response(readFileSync(url));
PreTrainedModel.from_pretrained = () => null;
"""
# Calls the worker's functions, with a network that gives a vector's logits where they are asked for.
AFTER = """
const folder = process.env.STUDENT;
const student = await load(folder);
const { tags } = student.config;

async function answer({ text, windows, logits }) {
  const place = (index) => [...text.slice(0, index)].length; // in code points
  const asked = [];
  const model = ({ input_ids, attention_mask, word_features }) => {
    const ids = [...input_ids.data].map(Number);
    const window = windows.find((each) => String(each.input_ids) === String(ids));
    const data = new Float32Array(ids.length * tags.length).fill(window ? NaN : 0);
    window?.word_positions.forEach((position, number) =>
      data.set(logits[window.first_word + number], position * tags.length),
    );
    const features = word_features ? [...word_features.data].map(Number) : null;
    asked.push([ids, [...attention_mask.data].map(Number), features]);
    return { logits: { data, dims: [1, ids.length, tags.length] } };
  };
  const mentions = await findMentions({ ...student, model }, text);
  const once = [...asked];
  const [type] = tags.filter((tag) => tag !== "O").map((tag) => tag.slice(2));
  const config = { ...student.config, thresholds: { 0.9: { [type]: null } } };
  const kept = [];
  for (const threshold of [0.5, { [type]: 0.5 }, "0.9"]) {
    const found = await findMentions({ ...student, config, model }, text, threshold);
    kept.push(found.map(({ type, start }) => [type, place(start)]));
  }
  const words = [...text.matchAll(student.pattern)];
  const labels = logits.length ? decode(logits.map((each) => Float32Array.from(each)), tags) : [];
  return {
    words: words.map(({ 0: word, index }) => [place(index), place(index + word.length)]),
    asked: once,
    tags: labels.map((label) => tags[label]),
    kept,
    mentions: mentions.map(({ type, start, end, score }) => [type, place(start), place(end), score]),
  };
}

const tried = [];
for (const threshold of [null, undefined, NaN, true, [0.9], { X: 0.5 }, "constructor", -3, 7, "0.9"]) {
  try {
    readThreshold(threshold, { tags, thresholds: {} });
    tried.push(true);
  } catch {
    tried.push(false);
  }
}
const answers = [];
for (const vector of JSON.parse(readFileSync(`${folder}/texts.json`))) answers.push(await answer(vector));
console.log(JSON.stringify({ answers, tried }));
"""

# Which mentions three thresholds keep, by whether their score is at least 0.5, and whether they are of the first type.
KEEPS = [lambda sure, first: sure, lambda sure, first: sure or not first, lambda sure, first: not first]


@pytest.mark.parametrize("rule", ["characters", "apart", "within"])
def test_the_worker_gives_the_vectors(rule):
    command = ["node", "--input-type=module", "-"]
    environment = os.environ | {"STUDENT": os.path.relpath(VECTORS / rule, SOURCE)}
    code = BEFORE + (SOURCE / "worker.js").read_text(encoding="utf-8") + AFTER
    run = subprocess.run(
        command, cwd=SOURCE, env=environment, input=code, capture_output=True, encoding="utf-8", timeout=120
    )
    assert run.returncode == 0, run.stderr[-3000:]
    output = json.loads(run.stdout)
    assert output["tried"] == [True, True] + [False] * 8, "what is no threshold is refused"
    answers = output["answers"]
    tags = json.loads((VECTORS / rule / "config.json").read_text(encoding="utf-8"))["tags"]
    vectors = json.loads((VECTORS / rule / "texts.json").read_text(encoding="utf-8"))
    for vector, answer in zip(vectors, answers, strict=True):
        text = vector["text"]
        assert answer["words"] == vector["words"], text
        windows = [[each["input_ids"], sum(each.get("word_features", []), []) or None] for each in vector["windows"]]
        if rule == "apart" and "\U00020bb7" in text:
            # The library's BertNormalizer puts no blanks around Han characters beyond U+FFFF.
            assert [ids for ids, *_ in answer["asked"]] != [ids for ids, _ in windows], "it does now: drop these lines"
            continue
        assert answer["asked"] == [[ids, [1] * len(ids), features] for ids, features in windows], text
        assert answer["tags"] == vector["tags"], text
        mentions = [[each["entity_group"], each["start"], each["end"]] for each in vector["mentions"]]
        assert [each[:3] for each in answer["mentions"]] == mentions, text
        scores = [mention["score"] for mention in vector["mentions"]]
        assert [each[3] for each in answer["mentions"]] == pytest.approx(scores, abs=1e-5), text
        first = next(tag.partition("-")[2] for tag in tags if tag != "O")
        sure = [(mention["score"] >= 0.5, mention["entity_group"] == first) for mention in vector["mentions"]]
        for kept, keeps in zip(answer["kept"], KEEPS, strict=True):
            expected = [each for each, answers in zip(mentions, sure, strict=True) if keeps(*answers)]
            assert kept == [each[:2] for each in expected], text

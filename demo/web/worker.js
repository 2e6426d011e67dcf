// The student, off the page's thread: texts in, mentions out, as the MentionPipeline of Python finds them.

import { AutoTokenizer, PreTrainedModel, Tensor, env } from "@huggingface/transformers";

const LONGEST_WINDOW = 512;
// Types of models whose position ids start after that of the padding token (windows.POSITIONS_AFTER_PADDING).
const POSITIONS_AFTER_PADDING =
  "roberta xlm-roberta camembert longformer mpnet xlm-roberta-xl data2vec-text roberta-prelayernorm xmod ibert luke " +
  "lilt layoutlmv3 markuplm esm";
// What a word is (words.RULES), with what \w and \s are to Python's `re`.
const MARKS = "\\p{M}\\u00ad\\u200c\\u200d";
const ALPHANUMERIC = "[\\p{L}\\p{N}]";
const SIGN = "[^\\p{L}\\p{N}\\t-\\r\\x1c-\\x20\\x85\\p{Z}]";
const NO_BLANKS =
  "[\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u2e80-\\u2fdf\\u3005-\\u3007\\u3021-\\u3029\\u3031-\\u3035" +
  "\\u3038-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\uff66-\\uff9f\\u{1b000}-\\u{1b16f}" +
  "\\u{20000}-\\u{3ffff}]";
const LETTER = `(?:${ALPHANUMERIC}|[${MARKS}])`;
const OTHER_LETTER = `(?!${NO_BLANKS})${ALPHANUMERIC}`;
const SIGNS =
  `[\\u{1f1e6}-\\u{1f1ff}]{2}|${SIGN}` +
  `(?:[\\p{M}\\u00ad\\u200c\\u{1f3fb}-\\u{1f3ff}\\u{e0020}-\\u{e007f}]|\\u200d(?:(?![_${MARKS}])${SIGN})?)*`;
const RULES = {
  characters: `${NO_BLANKS}[${MARKS}]*|${OTHER_LETTER}(?:${OTHER_LETTER}|[${MARKS}])*|${SIGNS}`,
  apart: `${ALPHANUMERIC}${LETTER}*|${SIGNS}`,
  within: `${ALPHANUMERIC}${LETTER}*(?:(?:(?![${MARKS}])${SIGN})+${LETTER}+)*|${SIGNS}`,
};

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = "./";
env.useBrowserCache = false; // it would hold on to a student after another has taken its place
// A worker made of a blob has no address that a relative one could start from.
env.fetch = (path, options) => fetch(new URL(path, import.meta.url), options);
env.backends.onnx.wasm.wasmPaths = { wasm: new URL("ort.wasm", import.meta.url).href };
env.backends.onnx.wasm.numThreads = 1; // more need headers that a plain file server does not send

// Subwords per window, special tokens included (windows.window_length).
function windowLength(tokenizer, config) {
  let positions = (config.bert_config ?? config).max_position_embeddings || LONGEST_WINDOW;
  if (positions < 0) positions = LONGEST_WINDOW;
  if (POSITIONS_AFTER_PADDING.split(" ").includes(config.model_type)) positions -= 2;
  return Math.min(LONGEST_WINDOW, tokenizer.model_max_length || LONGEST_WINDOW, positions);
}

async function load(folder) {
  const answer = await env.fetch(`${folder}/config.json`);
  if (!answer.ok) throw new Error(`${folder}/config.json is not there`);
  const config = await answer.json();
  const rule = RULES[config.word_rule ?? config.word_pattern ?? "characters"];
  if (!rule) throw new Error(`${folder}/config.json: word_rule is none of ${Object.keys(RULES).join(", ")}`);
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  // "custom" is whatever reads `input_ids` and `attention_mask` (and more): a BiLSTM as well as a BERT.
  const model = await PreTrainedModel.from_pretrained(folder, {
    config: { ...config, model_type: "custom" },
    device: "wasm",
    dtype: "q8",
  });
  const inside = tokenizer.encode("a", { add_special_tokens: false });
  const whole = tokenizer.encode("a");
  const first = whole.indexOf(inside[0]);
  return {
    config,
    tokenizer,
    model,
    pattern: new RegExp(rule, "gv"),
    before: whole.slice(0, first),
    after: whole.slice(first + inside.length),
    maxLength: windowLength(tokenizer, config),
  };
}

// The checksum of a string's UTF-8 (zlib.crc32).
function crc32(text) {
  let sum = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

// A row for each of the features of a word: its shape, its beginning and its end (word_features.word_features).
function wordFeatures(word, rows) {
  const letters = [...word];
  const shape = letters.map((letter) =>
    /\p{Nd}/u.test(letter) ? "d" : /\p{Uppercase}/u.test(letter) ? "X" : /\p{L}/u.test(letter) ? "x" : letter,
  );
  const parts = [
    shape.join("").replace(/(.)\1{3,}/gsu, "$1$1$1"),
    letters.slice(0, 3).join(""),
    letters.slice(-3).join(""),
  ];
  return parts.map((part, number) => 1 + number * rows + (crc32(part) % rows));
}

// The logits of each word (as the rule found it), at its first subword (windows.predict_windows).
async function predictWords({ config, model, tokenizer, before, after, maxLength }, words) {
  const ids = [];
  const starts = [];
  const features = [];
  const rows = config.word_feature_rows;
  for (const [word] of words) {
    starts.push(ids.length);
    let pieces = tokenizer.encode(word, { add_special_tokens: false });
    if (!pieces.length) pieces = [tokenizer.unk_token_id ?? tokenizer.pad_token_id];
    ids.push(...pieces);
    if (rows) features.push(...Array(pieces.length).fill(wordFeatures(word, rows)));
  }
  const room = maxLength - before.length - after.length;
  const overlap = room >> 2;
  const logits = [];
  for (let cut = 0; logits.length < words.length; cut += room - overlap) {
    // In the middle of an overlap the right to speak passes to the next window.
    const high = cut + room < ids.length ? cut + room - overlap + (overlap >> 1) : ids.length;
    if (starts[logits.length] >= high) continue; // in the midst of a long word
    const input = [...before, ...ids.slice(cut, cut + room), ...after];
    const tensor = (values, ...dims) =>
      new Tensor("int64", BigInt64Array.from(values, BigInt), [1, input.length, ...dims]);
    const inputs = { input_ids: tensor(input), attention_mask: tensor(input.map(() => 1)) };
    if (rows) {
      const special = (tokens) => tokens.map(() => [0, 0, 0]);
      const own = [...special(before), ...features.slice(cut, cut + room), ...special(after)];
      inputs.word_features = tensor(own.flat(), 3);
    }
    const output = await model(inputs);
    const labels = output.logits.dims[2];
    while (starts[logits.length] < high) {
      const place = (starts[logits.length] - cut + before.length) * labels;
      logits.push(output.logits.data.slice(place, place + labels));
    }
  }
  return logits;
}

// Whether `tag` may stand right after `previous`; O stands for both ends of a text (labels.can_follow).
function canFollow(previous, tag, scheme) {
  const open = "BI".includes(previous[0]);
  if ("IE".includes(tag[0])) return open && tag.slice(2) === previous.slice(2);
  return !(scheme === "IOBES" && open);
}

// The most probable valid tag sequence (labels.constrained_decode).
function decode(logits, tags) {
  const scheme = tags.some((tag) => "ES".includes(tag[0])) ? "IOBES" : "IOB2";
  const step = tags.map((tag) => tags.map((previous) => (canFollow(previous, tag, scheme) ? 0 : -Infinity)));
  const best = (values) => values.indexOf(Math.max(...values));
  let scores = tags.map((tag, label) => (canFollow("O", tag, scheme) ? logits[0][label] : -Infinity));
  const back = [];
  for (const values of logits.slice(1)) {
    const paths = step.map((allowed) => allowed.map((cost, previous) => scores[previous] + cost));
    back.push(paths.map(best));
    scores = paths.map((path, label) => Math.max(...path) + values[label]);
  }
  const labels = [best(scores.map((score, label) => (canFollow(tags[label], "O", scheme) ? score : -Infinity)))];
  for (const from of back.reverse()) labels.push(from[labels.at(-1)]);
  return labels.reverse();
}

// Steps from one word to the next: a label, and the states before and after it (decoding.find_transitions). State 0: no
// mention has to go on; the others: a mention of a type may go on.
function findSteps(tags) {
  const iob2 = !tags.some((tag) => "ES".includes(tag[0]));
  const types = [...new Set(tags.filter((tag) => "BI".includes(tag[0])).map((tag) => tag.slice(2)))];
  const steps = [];
  tags.forEach((tag, label) => {
    const state = types.indexOf(tag.slice(2)) + 1;
    const inside = "IE".includes(tag[0]);
    if (!"OBIES".includes(tag[0]) || (inside && !state)) return;
    const from = inside ? state : 0;
    if ("BI".includes(tag[0])) steps.push({ label, from, to: state });
    if (!"BI".includes(tag[0]) || iob2) steps.push({ label, from, to: 0 });
  });
  return { steps, states: types.length + 1 };
}

// Sums of probabilities (logarithms) of all ways into each state, before the first word and after each word.
function forward(weights, steps, states, from, to) {
  const sums = [Array(states).fill(-Infinity)];
  sums[0][0] = 0;
  for (const values of weights) {
    const ways = Array.from({ length: states }, () => []);
    for (const step of steps) ways[step[to]].push(sums.at(-1)[step[from]] + values[step.label]);
    sums.push(
      ways.map((each) => {
        const most = Math.max(...each);
        return most === -Infinity ? most : most + Math.log(each.reduce((sum, way) => sum + Math.exp(way - most), 0));
      }),
    );
  }
  return sums;
}

// The score of each mention of a decoded text: the probability that exactly it stands there (confidence.py).
function scoreMentions(mentions, logits, labels, { tags, score_calibration }) {
  const { temperature, a, b, c, d } = score_calibration ?? { temperature: 1, a: 1, b: 1, c: 0, d: 0 };
  const { steps, states } = findSteps(tags);
  const weights = logits.map((values) => Array.from(values, (value) => value / temperature));
  const before = forward(weights, steps, states, "from", "to");
  const after = forward(weights.toReversed(), steps, states, "to", "from").reverse();
  return mentions.map(({ first, last }) => {
    let sum = before[first][0] + after[last][0] - after[0][0];
    for (let word = first; word < last; word++) sum += weights[word][labels[word]];
    const probability = Math.exp(Math.min(0, sum));
    const [yes, no] = [probability, 1 - probability].map((each) => Math.log(Math.max(each, 1e-12)));
    return 0.5 + 0.5 * Math.tanh((a * yes - b * no + c + d * Math.log(last - first)) / 2);
  });
}

// By type the score below which mentions are left out: a number, numbers by type, or the name of one of
// config.thresholds, where null leaves out the type (confidence.read_threshold).
function readThreshold(threshold, { tags, thresholds }) {
  if (threshold === null || threshold === undefined) return () => 0;
  const fail = () => {
    throw new Error(`no threshold of this student: ${JSON.stringify(threshold)}`);
  };
  const isScore = (score) => typeof score === "number" && score >= 0 && score <= 1;
  if (isScore(threshold)) return () => threshold;
  const kept = typeof threshold === "string";
  if (kept && !Object.hasOwn(thresholds ?? {}, threshold)) fail();
  const scores = kept ? thresholds[threshold] : threshold;
  const known = new Set(tags.filter((tag) => tag !== "O").map((tag) => tag.slice(2)));
  if (!scores || Object.getPrototypeOf(scores) !== Object.prototype) fail();
  for (const [type, score] of Object.entries(scores)) if (!known.has(type) || !(isScore(score) || (kept && score === null))) fail();
  return (type) => (Object.hasOwn(scores, type) ? scores[type] ?? Infinity : 0);
}

// The mentions of a text, with the places of their characters in the text (UTF-16, as everywhere in JavaScript).
async function findMentions(student, text, threshold) {
  const words = [...text.matchAll(student.pattern)].filter(([word]) => word);
  if (!words.length) return [];
  const { tags } = student.config;
  const least = readThreshold(threshold, student.config);
  const logits = await predictWords(student, words);
  const labels = decode(logits, tags);
  const mentions = [];
  labels.forEach((label, number) => {
    const { 0: word, index } = words[number];
    if (tags[label] === "O") return;
    if ("BS".includes(tags[label][0])) mentions.push({ type: tags[label].slice(2), start: index, first: number });
    Object.assign(mentions.at(-1), { end: index + word.length, last: number + 1 });
  });
  const scores = scoreMentions(mentions, logits, labels, student.config);
  return mentions
    .map(({ type, start, end }, number) => ({ type, start, end, score: scores[number] }))
    .filter(({ type, score }) => score >= least(type));
}

async function serve(folder) {
  const student = await load(folder);
  const { tags, model_type } = student.config;
  await findMentions(student, "a"); // the first answer takes longest: memory is set up, code compiled
  self.onmessage = ({ data: { text, threshold } }) => {
    const begin = performance.now();
    findMentions(student, text, threshold).then(
      (mentions) => postMessage({ mentions, milliseconds: performance.now() - begin }),
      ({ message }) => postMessage({ error: `The student gave no answer: ${message}` }),
    );
  };
  postMessage({
    family: model_type,
    types: [...new Set(tags.filter((tag) => tag !== "O").map((tag) => tag.slice(2)))],
    bytes: performance.getEntriesByType("resource").find(({ name }) => name.endsWith(".onnx")).decodedBodySize,
    threads: env.backends.onnx.wasm.numThreads,
    precisions: Object.keys(student.config.thresholds ?? {}),
  });
}

serve(self.name).catch(({ message }) => {
  const advice = `Export one with --export onnx, and copy its folder to ${self.name}/, beside this page.`;
  postMessage({ error: `No student could be loaded (${message}). ${advice}` });
});

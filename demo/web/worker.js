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
  // "custom" is whatever reads `input_ids` and `attention_mask`: a BiLSTM as well as a BERT.
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

// The logits of each word (as the rule found it), at its first subword (alignment.predict_words).
async function predictWords({ model, tokenizer, before, after, maxLength }, words) {
  const ids = [];
  const starts = [];
  for (const [word] of words) {
    starts.push(ids.length);
    const pieces = tokenizer.encode(word, { add_special_tokens: false });
    ids.push(...(pieces.length ? pieces : [tokenizer.unk_token_id ?? tokenizer.pad_token_id]));
  }
  const room = maxLength - before.length - after.length;
  const overlap = room >> 2;
  const logits = [];
  for (let cut = 0; logits.length < words.length; cut += room - overlap) {
    // In the middle of an overlap the right to speak passes to the next window.
    const high = cut + room < ids.length ? cut + room - overlap + (overlap >> 1) : ids.length;
    if (starts[logits.length] >= high) continue; // in the midst of a long word
    const input = [...before, ...ids.slice(cut, cut + room), ...after];
    const tensor = (values) => new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    const output = await model({ input_ids: tensor(input), attention_mask: tensor(input.map(() => 1)) });
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

// The mentions of a text, with the places of their characters in the text (UTF-16, as everywhere in JavaScript).
async function findMentions(student, text) {
  const words = [...text.matchAll(student.pattern)].filter(([word]) => word);
  if (!words.length) return [];
  const { tags } = student.config;
  const logits = await predictWords(student, words);
  const mentions = [];
  decode(logits, tags).forEach((label, number) => {
    const { 0: word, index } = words[number];
    if (tags[label] === "O") return;
    if ("BS".includes(tags[label][0])) mentions.push({ type: tags[label].slice(2), start: index, probabilities: [] });
    const mention = mentions.at(-1);
    mention.end = index + word.length;
    const sum = logits[number].reduce((total, value) => total + Math.exp(value - logits[number][label]), 0);
    mention.probabilities.push(1 / sum);
  });
  return mentions.map(({ probabilities, ...mention }) => ({
    ...mention,
    score: probabilities.reduce((total, value) => total + value) / probabilities.length,
  }));
}

async function serve(folder) {
  const student = await load(folder);
  const { tags, model_type } = student.config;
  await findMentions(student, "a"); // the first answer takes longest: memory is set up, code compiled
  self.onmessage = ({ data: text }) => {
    const begin = performance.now();
    findMentions(student, text).then(
      (mentions) => postMessage({ mentions, milliseconds: performance.now() - begin }),
      ({ message }) => postMessage({ error: `The student gave no answer: ${message}` }),
    );
  };
  postMessage({
    family: model_type,
    types: [...new Set(tags.filter((tag) => tag !== "O").map((tag) => tag.slice(2)))],
    bytes: performance.getEntriesByType("resource").find(({ name }) => name.endsWith(".onnx")).decodedBodySize,
    threads: env.backends.onnx.wasm.numThreads,
  });
}

serve(self.name).catch(({ message }) => {
  const advice = `Export one with --export onnx, and copy its folder to ${self.name}/, beside this page.`;
  postMessage({ error: `No student could be loaded (${message}). ${advice}` });
});

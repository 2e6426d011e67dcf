// The page: sends what is typed to the worker, and shows what it finds.

const DEBOUNCE = 40; // milliseconds
const KEPT = 20; // latencies of which the median is taken

const folder = new URLSearchParams(location.search).get("model") ?? "model";
const at = (id) => document.getElementById(id);
const text = at("text");

let types = [];
let marked = { text: "", mentions: [] };
let asked = ""; // the text that the worker is at work on; null when it is not (at first, it loads the student)
let askedThreshold;
let timer;
const latencies = [];

function element(name, content, type) {
  const made = document.createElement(name);
  made.textContent = content;
  if (type) {
    made.dataset.type = type;
    made.style.setProperty("--hue", (150 + 137.5 * types.indexOf(type)) % 360);
  }
  return made;
}

function tag(type) {
  const made = element("span", type, type);
  made.className = "type";
  return made;
}

function item(...children) {
  const made = document.createElement("li");
  made.append(...children);
  return made;
}

function mark(mentions) {
  marked = { text: text.value, mentions };
  const parts = [];
  let place = 0;
  for (const { type, start, end } of mentions) {
    parts.push(text.value.slice(place, start), element("mark", text.value.slice(start, end), type));
    place = end;
  }
  at("marks").replaceChildren(...parts, text.value.slice(place) + "\n"); // else an empty last line has no height
}

// Until the answer is here, marks move along with the text behind the place that was edited.
function shift() {
  const [before, now] = [marked.text, text.value];
  let same = 0;
  while (same < before.length && before[same] === now[same]) same++;
  const move = (place) => (place <= same ? place : Math.max(same, place + now.length - before.length));
  const moved = marked.mentions.map((each) => ({ ...each, start: move(each.start), end: move(each.end) }));
  mark(moved.filter(({ start, end }) => start < end));
}

// One text at a time: answers come in order, and what was typed meanwhile is asked next.
function ask() {
  clearTimeout(timer);
  if (asked !== null) return;
  asked = text.value;
  const threshold = at("threshold").value;
  askedThreshold = threshold;
  worker.postMessage({ text: asked, threshold: threshold.startsWith("=") ? threshold.slice(1) : Number(threshold) });
}

function show({ mentions, milliseconds }) {
  const stale = asked !== text.value || askedThreshold !== at("threshold").value;
  asked = null;
  if (stale) return ask();
  mark(mentions);
  at("status").textContent = "";
  const found = mentions.map(({ type, start, end, score }) => {
    const sure = element("span", score.toFixed(2));
    sure.className = "score";
    return item(tag(type), element("span", text.value.slice(start, end)), sure);
  });
  at("mentions").replaceChildren(...found);
  at("count").textContent = found.length;
  at("mentions").ariaBusy = "false";
  latencies.push(milliseconds);
  if (latencies.length > KEPT) latencies.shift();
  const sorted = latencies.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  at("last").textContent = `${milliseconds.toFixed(1)} ms`;
  at("median").textContent = `${((sorted[middle] + sorted.at(-1 - middle)) / 2).toFixed(1)} ms`;
}

function start({ family, bytes, threads, ...student }) {
  types = student.types;
  at("legend").replaceChildren(...types.map((type) => item(tag(type))));
  at("model").textContent = `${folder} (${family})`;
  at("size").textContent = `${(bytes / 1e6).toFixed(1)} MB`;
  at("threads").textContent = threads;
  // Those that were chosen for a precision; numbers stand for themselves.
  for (const precision of student.precisions) at("threshold").append(new Option(`precision ${precision}`, `=${precision}`));
  at("status").textContent = "";
  asked = null;
  ask();
}

function fail(message) {
  at("status").className = "error";
  at("status").textContent = message;
}

// From a blob, because the page's Content-Security-Policy then binds the worker, too.
const source = `import ${JSON.stringify(new URL("worker.js", import.meta.url))};`;
const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })), {
  type: "module",
  name: folder,
});
worker.onerror = () => fail("The worker could not be started: this page needs a browser of 2024 or later.");
worker.onmessage = ({ data }) => {
  if (data.error) {
    asked = null;
    fail(data.error);
  }
  else if (data.mentions) show(data);
  else start(data);
};
text.addEventListener("input", () => {
  shift();
  at("mentions").ariaBusy = "true";
  clearTimeout(timer);
  timer = setTimeout(ask, DEBOUNCE);
});
at("threshold").addEventListener("change", ask);
mark([]);

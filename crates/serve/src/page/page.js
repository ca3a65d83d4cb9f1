// The page: what is asked, and the wall of answers. Everything that comes from outside is put in as
// text or as an address, never as markup.
import { picture, record, sound } from "/media.js";

const $ = (id) => document.getElementById(id);
const KINDS = { text: "Texts", image: "Pictures", audio: "Sounds", row: "Rows" };
const ORDER = ["image", "text", "audio", "row"];
const WAIT = 250;

// What the server has, what is asked (words are in the field), and the question under way.
let inputs = [];
let hasIndex = false;
const asked = { image: null, audio: null, row: null };
let underWay = null;
// How often the question was put away; what comes later than that is not wanted any more.
let cleared = 0;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function say(text, wrong = false) {
  $("state").textContent = text;
  $("state").classList.toggle("wrong", wrong);
}

async function ask(path, options) {
  const response = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The server cannot be reached.");
  });
  if (response.ok) return response.json();
  const answer = await response.json().catch(() => ({}));
  throw new Error(answer.error?.message ?? `The server answers ${response.status}.`);
}

// ---- answers ----

const player = new Audio();
player.ontimeupdate = () => playing()?.style.setProperty("--done", player.currentTime / player.duration || 0);
player.onended = player.onerror = () => silence();
const playing = () => document.querySelector(".playing");

function silence() {
  playing()?.classList.remove("playing");
  player.pause();
}

function playButton(address) {
  const icon = (name, path) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("class", name);
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  };
  const button = element("button", { type: "button", className: "play", ariaLabel: "Play" });
  button.append(icon("go", "M8 5.5v13l10-6.5z"), icon("stop", "M8 6v12M16 6v12"), element("i"));
  button.onclick = () => {
    const was = button.classList.contains("playing");
    silence();
    if (was) return;
    button.classList.add("playing");
    player.src = address;
    player.play().catch(silence);
  };
  return button;
}

const inputOf = (modality) => inputs.find((input) => input.modality === modality);
const fieldOf = (kind, fields) => fields[inputs.find((input) => input.kind === kind)?.field];
const first = (value) => (Array.isArray(value) ? value[0] : value);

// The fields of an item that no other modality reads.
function rowOf(fields) {
  const taken = inputs.map((input) => input.field);
  return Object.entries(fields).filter(([name, value]) => !taken.includes(name) && typeof value !== "object");
}

function rowList(row) {
  const line = ([name, value]) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }));
  return element("dl", {}, ...row.slice(0, 8).map(line));
}

// What a modality shows of an item; nothing if the item cannot be had.
function shown(kind, fields) {
  const value = first(fieldOf(kind, fields));
  if (kind === "row") return rowOf(fields).length ? rowList(rowOf(fields)) : null;
  if (value === undefined) return null;
  if (kind === "image") return element("img", { src: value.href, alt: caption(fields) ?? "", loading: "lazy", decoding: "async" });
  return kind === "text" ? element("span", { className: "text", textContent: value }) : null;
}

const caption = (fields) => {
  const words = first(fieldOf("text", fields));
  return words === undefined ? null : String(words);
};

function card(modality, { key, score, fields = {} }) {
  const kind = inputOf(modality)?.kind ?? "text";
  const heard = kind === "audio" ? first(fieldOf("audio", fields)) : undefined;
  const words = kind === "text" ? null : caption(fields);
  const more = element("button", { type: "button", className: "more", title: "More like this" });
  more.append(...[
    shown(kind, fields) ?? (heard ? null : element("span", { className: "text", textContent: key })),
    words === null ? null : element("span", { className: "caption", textContent: words }),
  ].filter(Boolean));
  more.onclick = () => like(kind, fields);
  const item = element("div", { className: "item" }, heard ? playButton(heard.href) : null, more);
  if (score !== undefined) {
    const bar = element("i");
    bar.style.setProperty("--share", Math.max(0, Math.min(1, score)));
    item.append(element("span", { className: "score", title: "cosine with the question" }, bar, score.toFixed(2)));
  }
  return element("li", {}, item);
}

function section(modality, items, note) {
  const kind = inputOf(modality)?.kind ?? "text";
  const wall = element("ul", { className: kind === "image" ? "wall" : "wall wide" }, ...items.map((item) => card(modality, item)));
  const title = element("h2", { textContent: KINDS[kind] });
  if (note) title.append(element("small", { textContent: note }));
  return element("section", {}, title, wall);
}

function show(...sections) {
  silence();
  $("found").replaceChildren(...sections);
  $("found").classList.remove("stale");
}

const rank = ([modality]) => ORDER.indexOf(inputOf(modality)?.kind);

// ---- questions ----

const words = () => $("words").value.trim();
const isAsking = () => words() !== "" || Object.values(asked).some((part) => part !== null);
const targets = () => [...document.querySelectorAll("#targets input:checked")].map((box) => box.value);

async function search() {
  underWay?.abort();
  if (!hasIndex) return;
  if (!isAsking()) return welcome();
  if (targets().length === 0) return say("Choose what to look for.");
  const form = new FormData();
  if (words()) form.append("text", words());
  if (asked.image) form.append("image", asked.image);
  if (asked.audio) form.append("audio", asked.audio);
  if (asked.row) form.append("row", JSON.stringify(asked.row));
  form.append("to", targets().join(","));
  form.append("k", "18");
  underWay = new AbortController();
  $("found").classList.add("stale");
  const begin = performance.now();
  try {
    const { found } = await ask("/v1/search", { method: "POST", body: form, signal: underWay.signal });
    const parts = Object.entries(found).sort((a, b) => rank(a) - rank(b));
    show(...parts.map(([modality, items]) => section(modality, items)));
    say(`${parts.reduce((sum, [, items]) => sum + items.length, 0)} answers in ${Math.round(performance.now() - begin)} ms`);
  } catch (error) {
    if (error.name === "AbortError") return;
    $("found").classList.remove("stale");
    say(error.message, true);
  }
}

let timer;
function soon() {
  clearTimeout(timer);
  timer = setTimeout(search, WAIT);
}

// Asks with what an item shows.
async function like(kind, fields) {
  scrollTo({ top: 0 });
  const value = first(fieldOf(kind, fields));
  if (kind === "row" && rowOf(fields).length) {
    clear();
    await attach("row", Object.fromEntries(rowOf(fields)));
  } else if (kind === "text" && value !== undefined) {
    clear();
    $("words").value = value;
    await search();
  } else if (value?.href) {
    const begun = cleared;
    const bytes = await (await fetch(value.href)).blob();
    if (begun !== cleared) return;
    clear();
    await attach(kind, bytes);
  }
}

function clear() {
  cleared += 1;
  $("words").value = "";
  Object.keys(asked).forEach((kind) => (asked[kind] = null));
  $("attached").replaceChildren();
}

// Makes a file or a row part of the question, in place of the last one of its kind.
async function attach(kind, given) {
  const begun = cleared;
  let part = given;
  try {
    if (kind === "image") part = await picture(given);
    if (kind === "audio") part = await sound(given);
  } catch (error) {
    return say(error.message, true);
  }
  if (begun !== cleared) return;
  asked[kind] = part;
  document.querySelector(`.piece[data-kind=${kind}]`)?.remove();
  const piece = element("div", { className: "piece" });
  piece.dataset.kind = kind;
  const address = kind === "row" ? null : URL.createObjectURL(asked[kind]);
  if (kind === "image") piece.append(element("img", { src: address, alt: "The picture asked with" }));
  if (kind === "audio") piece.append(playButton(address));
  if (kind === "row") piece.append(rowList(Object.entries(given).slice(0, 3)));
  const away = element("button", { type: "button", className: "away", textContent: "×", ariaLabel: "Remove" });
  away.onclick = () => {
    asked[kind] = null;
    piece.remove();
    if (address) URL.revokeObjectURL(address);
    $("words").focus();
    search();
  };
  piece.append(away);
  $("attached").append(piece);
  await search();
}

// ---- beginnings ----

async function welcome() {
  say("");
  const { data } = await ask("/v1/items?count=24").catch(() => ({ data: [] }));
  if (isAsking()) return;
  const kind = ORDER.find((kind) => data.some((item) => shown(kind, item.fields) !== null));
  const modality = inputs.find((input) => input.kind === kind)?.modality;
  show(...(modality ? [section(modality, data, "some of what is here: choose one, or ask")] : []));
}

function howTo(model) {
  const line = `curl ${location.origin}/v1/embeddings -H 'content-type: application/json' -d '{"input": "a red apple"}'`;
  show(element("section", {},
    element("p", { textContent: `This server has no index to search. It turns what it is sent into ${model.dimensions} numbers:` }),
    element("pre", {}, element("code", { textContent: line })),
    element("p", {}, "Start it with ", element("code", { textContent: "--index" }), " to search here. ",
      element("a", { href: "/openapi.json", textContent: "All that it answers" }))));
}

function listTargets(index) {
  const box = ([modality, count]) => element("label", { title: `${count.toLocaleString()} items` },
    element("input", { type: "checkbox", value: modality, checked: true, onchange: search }),
    KINDS[inputOf(modality)?.kind] ?? modality);
  $("targets").append(...Object.entries(index).sort((a, b) => rank(a) - rank(b)).map(box));
  $("targets").hidden = Object.keys(index).length < 2;
}

async function begin() {
  const { data: [model] } = await ask("/v1/models");
  inputs = model.inputs;
  const takes = (kind) => inputs.some((input) => input.kind === kind);
  const canRecord = takes("audio") && window.MediaRecorder && navigator.mediaDevices;
  $("about").textContent = model.id;
  hasIndex = model.index !== undefined;
  $("ask").hidden = !hasIndex;
  if (!hasIndex) return howTo(model);
  $("words").placeholder = takes("text") ? "Look for …" : "Drop something …";
  $("words").disabled = !takes("text");
  $("picture").hidden = !takes("image");
  $("sound").hidden = !takes("audio");
  $("record").hidden = !canRecord;
  listTargets(model.index);
  await search();
}

$("ask").onsubmit = (event) => { event.preventDefault(); clearTimeout(timer); search(); };
$("words").oninput = soon;
$("picture").onclick = () => $("picture-file").click();
$("sound").onclick = () => $("sound-file").click();
$("picture-file").onchange = $("sound-file").onchange = (event) => { take(event.target.files); event.target.value = ""; };

let recording = null;
$("record").onclick = async () => {
  if (recording) return recording.stop();
  try {
    recording = await record((heard) => {
      recording = null;
      $("record").ariaPressed = "false";
      attach("audio", heard);
    });
    $("record").ariaPressed = "true";
    say("Recording, at most ten seconds. Press again to end.");
  } catch (error) {
    say(error.message, true);
  }
};

// The first picture and the first sound of some files.
function take(files) {
  const of = (kind) => [...files].find((file) => file.type.startsWith(`${kind}/`) && inputs.some((input) => input.kind === kind));
  const kinds = ["image", "audio"].filter(of);
  if (files.length && kinds.length === 0) say("The model reads neither this nor its like.", true);
  kinds.forEach((kind) => attach(kind, of(kind)));
}

addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").hidden = !hasIndex || !event.dataTransfer.types.includes("Files");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  if (hasIndex) take(event.dataTransfer.files);
});
addEventListener("paste", (event) => { if (hasIndex && event.clipboardData.files.length) take(event.clipboardData.files); });
addEventListener("keydown", (event) => {
  const typing = event.target === $("words");
  if (event.key === "Escape") { clear(); $("words").focus(); search(); }
  if (event.key === "/" && !typing) { event.preventDefault(); $("words").focus(); }
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step && !typing) {
    const all = [...document.querySelectorAll(".more")];
    const at = all.indexOf(document.activeElement);
    if (at >= 0) all[Math.max(0, Math.min(all.length - 1, at + step))].focus();
  }
});

begin().catch((error) => say(error.message, true));

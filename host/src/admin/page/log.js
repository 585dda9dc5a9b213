// The end of a log: of this gateway, or of one server's processes.

import { el } from "./tables.js";
import { follow } from "./stream.js";

const MOST = 300;
const LEVELS = { info: 0, warn: 1, error: 2 };

const list = document.querySelector("#log-lines ol");
const box = document.getElementById("log-lines");
const source = document.getElementById("log-source");
const level = document.getElementById("log-level");
const following = document.getElementById("log-follow");

let own = new Map();
let stop = () => {};

/** The gateway's own lines, by number. */
export function show(lines) {
  own = lines;
  if (source.value === "") draw([...lines].sort(([a], [b]) => Number(a) - Number(b)).map(([, line]) => line));
}

/** The servers whose stderr can be chosen. */
export function offer(names) {
  const known = [...source.options].slice(1).map((option) => option.value);
  const wanted = [...names].sort();
  if (JSON.stringify(known) === JSON.stringify(wanted)) return;
  const chosen = source.value;
  source.replaceChildren(source.options[0], ...wanted.map((name) => el("option", { value: name }, name)));
  source.value = wanted.includes(chosen) ? chosen : "";
}

function draw(lines) {
  const least = LEVELS[level.value];
  list.replaceChildren(...lines.filter((line) => LEVELS[line.level] >= least).map(item));
  if (list.childElementCount === 0) list.append(el("li", {}, "", el("span", {}, "Nothing yet.")));
  keepEnd();
}

function add(line) {
  list.append(item(line));
  while (list.childElementCount > MOST) list.firstElementChild.remove();
  keepEnd();
}

function item({ at, level: word, text }) {
  const time = at ? new Date(at).toLocaleTimeString("en-GB") : "";
  return el("li", { "data-level": word }, el("span", {}, time), el("span", { class: "level" }, word), el("span", {}, text));
}

function keepEnd() {
  if (following.checked) box.scrollTop = box.scrollHeight;
}

function choose() {
  stop();
  stop = () => {};
  level.disabled = source.value !== "";
  if (source.value === "") return show(own);
  list.replaceChildren();
  const remark = (text) => add({ at: Date.now(), level: "warn", text });
  stop = follow(`api/logs?server=${encodeURIComponent(source.value)}&follow=true&lines=100`, {
    open: () => list.replaceChildren(),
    lost: (why) => remark(`The stream is lost: ${why}. It is tried again.`),
    refused: (_, why) => remark(why),
    event: (name, data) => {
      if (name === "line") add({ at: data.at, level: `${data.node}/${data.pid}`, text: data.text });
      if (name === "lost") remark(`${data.lost} lines of node ${data.node} were left out.`);
      if (name === "unreachable") remark(`Node ${data.node} cannot be followed: ${data.reason}`);
    },
  });
}

source.addEventListener("change", choose);
level.addEventListener("change", () => show(own));
following.addEventListener("change", keepEnd);

// The operators' page: reads the stream of differences and shows what has changed.

import { el, refreshTimes, state, Table } from "./tables.js";
import * as columns from "./columns.js";
import * as drain from "./drain.js";
import * as log from "./log.js";
import * as stream from "./stream.js";

const byId = (id) => document.getElementById(id);
const NAMES = ["nodes", "servers", "instances", "sessions", "decisions", "errors", "limits", "log"];

let head = null;
let known = new Map(NAMES.map((name) => [name, new Map()]));
let isWhole = false; // whether all has come on this connection
let lastHeard = null;
let stop = () => {};

const tables = {
  nodes: new Table("nodes", columns.nodes({
    isAllowed: () => head?.mode === "coordinator",
    button: (node) => drain.button(node, head?.mode === "coordinator" && node.url !== ""),
  })),
  servers: new Table("servers", columns.servers),
  instances: new Table("instances", columns.instances),
  sessions: new Table("sessions", columns.sessions),
  decisions: new Table("decisions", columns.decisions),
  errors: new Table("errors", columns.errors),
  limits: new Table("limits", columns.limits),
};

// Connection

function connect() {
  stop();
  stop = stream.follow("api/events", { open, event, lost, refused });
}

function open() {
  // Everything comes anew: what is gone meanwhile must not stay.
  isWhole = false;
  byId("key").hidden = true;
  byId("forget").hidden = stream.key() === null;
}

function event(name, data) {
  if (name !== "state") return;
  if (!isWhole) known = new Map(NAMES.map((section) => [section, new Map()]));
  const before = isWhole || head !== null ? states() : null;
  if (data.head !== undefined) head = data.head;
  for (const [section, { set, gone }] of Object.entries(data.sections)) {
    const entries = known.get(section);
    if (entries === undefined) continue;
    for (const key of gone) entries.delete(key);
    for (const [key, entry] of Object.entries(set)) entries.set(key, entry);
  }
  isWhole = true;
  lastHeard = Date.now();
  byId("content").hidden = false;
  byId("lost").hidden = true;
  connection("live", "Live");
  draw();
  tell(before);
}

function lost(why) {
  connection("lost", "Connection lost");
  const shown = byId("lost");
  const from = lastHeard === null ? "" : ` What you see is of ${new Date(lastHeard).toLocaleTimeString("en-GB")}.`;
  shown.textContent = `Connection lost: ${why}.${from} Trying again.`;
  shown.hidden = false;
}

function refused(status, why) {
  connection("connecting", "Locked");
  const hadKey = stream.key() !== null;
  if (status === 401) stream.keep(null);
  head = null;
  known = new Map(NAMES.map((section) => [section, new Map()]));
  byId("content").hidden = true;
  byId("lost").hidden = true;
  byId("forget").hidden = stream.key() === null;
  byId("key-why").textContent = hadKey || status === 403 ? why : "This gateway is locked.";
  byId("key").hidden = false;
  byId("key-value").focus();
}

function connection(value, text) {
  const shown = byId("connection");
  if (shown.textContent !== text) shown.textContent = text;
  shown.dataset.state = value;
}

// Drawing

function draw() {
  document.body.dataset.mode = head.mode;
  const name = head.nodeId === head.mode ? [] : [head.nodeId];
  const since = new Date(head.startedAt).toLocaleString("sv-SE");
  byId("who").textContent = [head.mode, ...name, head.version, head.strategy, `up since ${since}`].join(" · ");
  tables.nodes.update(known.get("nodes"), head.nodes);
  tables.servers.update(known.get("servers"), head.servers);
  tables.instances.update(known.get("instances"));
  tables.sessions.update(known.get("sessions"), head.sessions);
  tables.decisions.update(known.get("decisions"));
  tables.errors.update(known.get("errors"), known.get("errors").size + (head.errorsLeftOut ?? 0));
  tables.limits.update(known.get("limits"));
  log.offer([...known.get("servers").values()].map((server) => server.name));
  log.show(known.get("log"));
  overview();
}

function troubles() {
  const found = head.problems.map((text) => ["degraded", text]);
  for (const node of known.get("nodes").values()) {
    if (node.state !== "ok") found.push([node.state, `Node ${node.id} ${node.why ?? node.health}`]);
  }
  found.push(...serverTroubles());
  for (const { node, reason } of head.unreachable) {
    const isTold = known.get("nodes").get(node)?.state !== "ok";
    if (!isTold) found.push(["degraded", `Node ${node} could not be asked what it runs: ${reason}`]);
  }
  return found.sort(([a], [b]) => (a === "failed" ? 0 : 1) - (b === "failed" ? 0 : 1));
}

/** Servers in trouble. Those that only miss the replicas of the same nodes are told together. */
function serverTroubles() {
  const found = [];
  const missing = new Map();
  for (const server of known.get("servers").values()) {
    if (server.state === "ok") continue;
    const bad = server.replicas.filter((one) => one.state !== "ok");
    if (bad.length > 0 && bad.every((one) => one.status === "unknown")) {
      const nodes = bad.map((one) => one.node).join(", ");
      const key = `${server.state} ${nodes}`;
      if (!missing.has(key)) missing.set(key, { state: server.state, nodes, names: [] });
      missing.get(key).names.push(server.name);
      continue;
    }
    const worst = bad.find((one) => one.state === "failed") ?? bad[0];
    const why = worst === undefined ? "" : `: on ${worst.node}: ${worst.why ?? worst.status}`;
    found.push([server.state, `Server ${server.name}: ${server.usable} of ${server.count} usable${why}`]);
  }
  for (const { state: value, nodes, names } of missing.values()) {
    const more = names.length > 8 ? ` and ${names.length - 8} more` : "";
    const who = `${names.length === 1 ? "Server" : "Servers"} ${names.slice(0, 8).join(", ")}${more}`;
    found.push([value, value === "failed" ? `${who}: no replica is left without ${nodes}` :
      `${who}: fewer replicas, without ${nodes}`]);
  }
  return found;
}

function overview() {
  const found = troubles();
  const worst = found.length === 0 ? "ok" : found[0][0];
  const said = found.length === 0 ? "All is well" : found.length === 1 ? "One thing needs a look" :
    `${found.length} things need a look`;
  const verdict = byId("verdict");
  verdict.dataset.state = worst;
  if (verdict.textContent !== said) verdict.textContent = said;
  document.title = found.length === 0 ? "Mooring" : `(${found.length}) Mooring`;
  const list = byId("troubles");
  const text = JSON.stringify(found);
  if (list.dataset.known !== text) {
    list.dataset.known = text;
    list.replaceChildren(...found.map(([value, what]) => el("li", {}, state(value), el("span", {}, what))));
    list.hidden = found.length === 0;
  }
  const ok = (name) => [...known.get(name).values()].filter((entry) => entry.state === "ok").length;
  count("Nodes ok", ok("nodes"), head.nodes);
  count("Servers ok", ok("servers"), head.servers);
  count("Sessions", head.sessions);
  // Not for those to whom rules leave some servers only.
  if (head.callsPerSecond !== null) {
    count("Calls a second", head.callsPerSecond);
    count("Errors a second", head.errorsPerSecond);
  }
  count("Instances", head.isAsked ? known.get("instances").size + (head.hasMoreInstances ? "+" : "") : "…");
}

function count(name, value, all) {
  const counts = byId("counts");
  let place = [...counts.children].find((child) => child.dataset.name === name);
  if (place === undefined) {
    place = el("div", { "data-name": name }, el("dt", {}, name), el("dd"));
    counts.append(place);
  }
  const shown = place.querySelector("dd");
  const text = all === undefined ? String(value) : `${value} of ${all}`;
  if (shown.textContent === text) return;
  shown.replaceChildren(String(value), ...(all === undefined ? [] : [el("small", {}, ` of ${all}`)]));
}

// What a screen reader is told: changes of nodes and servers, no more.

function states() {
  const all = new Map();
  for (const node of known.get("nodes").values()) all.set(`Node ${node.id}`, [node.state, node.health]);
  for (const server of known.get("servers").values()) all.set(`Server ${server.name}`, [server.state, server.state]);
  return all;
}

function tell(before) {
  if (before === null || before.size === 0) return;
  const said = [];
  const now = states();
  for (const [name, [value, word]] of now) {
    if (before.get(name)?.[0] !== value) said.push(`${name} is ${word}`);
  }
  for (const name of before.keys()) if (!now.has(name)) said.push(`${name} is gone`);
  if (said.length > 0) byId("said").textContent = `${said.slice(0, 5).join(". ")}.`;
}

byId("key").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const input = byId("key-value");
  stream.keep(input.value.trim());
  input.value = "";
  connection("connecting", "Connecting…");
  connect();
});

byId("forget").addEventListener("click", () => {
  stream.keep(null);
  connect();
});

setInterval(() => refreshTimes(byId("content")), 5000);
connect();

// What each table shows.

import { ago, el, state } from "./tables.js";
import { details } from "./decision.js";

const RANK = { failed: 0, degraded: 1, ok: 2 };
const byName = (a, b) => a.localeCompare(b, "en", { numeric: true });

/** How many of these are well. */
function well(entries, total) {
  const count = [...entries.values()].filter((entry) => entry.state === "ok").length;
  return total === 0 ? "" : `${count} of ${total} ok`;
}

function lines(items) {
  return el("ul", { class: "list" }, ...items.map((item) => el("li", {}, ...item)));
}

function gibibytes(bytes) {
  return bytes === null || bytes === undefined ? null : (bytes / 2 ** 30).toFixed(1);
}

export const nodes = (actions) => ({
  empty: "No node is known. A node registers with this coordinator by itself, or by “mooring join”.",
  order: (a, b) => RANK[a.state] - RANK[b.state] || byName(a.id, b.id),
  describe: well,
  columns: [
    { label: "Node", of: (node) => [node.id, node.name, node.url], show: ([id, name, url]) =>
      el("div", {}, id, name === id && url === "" ? null : el("span", { class: "why" },
        [name === id ? "" : name, url].filter(Boolean).join(" · "))) },
    { label: "State", of: (node) => [node.state, node.health, node.why, node.awaySince, node.drain], show: nodeState },
    { label: "Servers", kind: "number", of: (node) => node.servers },
    { label: "Bound", kind: "number", of: (node) => node.bindings },
    { label: "Processes", kind: "number", of: (node) => node.load === null ? "" :
      `${node.load.children} / ${node.load.slots}` },
    { label: "Free memory", kind: "number", of: (node) => {
      const [free, all] = [gibibytes(node.load?.freeMemory), gibibytes(node.load?.totalMemory)];
      return free === null || all === null ? "" : `${free} / ${all} GiB`;
    } },
    { label: "Load", kind: "number", of: (node) => node.load?.loadAverage === undefined ||
      node.load.loadAverage === null ? "" : `${node.load.loadAverage.toFixed(1)} / ${node.load.cpus}` },
    { label: "Version", kind: "short", of: (node) => [node.version, node.zone], show: ([version, zone]) =>
      zone === "" ? version : el("div", {}, version, el("span", { class: "why" }, `zone ${zone}`)) },
    { label: "Action", kind: "action", of: (node) => [node.id, node.draining, node.state, node.bindings, actions.isAllowed()],
      show: (_, node) => actions.button(node) },
  ],
});

function nodeState([value, health, why, away, drain]) {
  const left = drain === null ? null :
    el("span", { class: "why" }, drain.drained ? "no session is left" : `${drain.sessions} still to go`);
  const since = away === null ? null : el("span", { class: "why" }, "away since ", ago(away));
  return el("div", {}, state(value, health),
    why === null ? null : el("span", { class: "why" }, why), since, left);
}

export const servers = {
  empty: "No server: the settings file has none, and no node has registered.",
  order: (a, b) => RANK[a.state] - RANK[b.state] || byName(a.name, b.name),
  describe: well,
  columns: [
    { label: "Server", of: (server) => server.name },
    { label: "State", kind: "short", of: (server) => server.state, show: (value) => state(value) },
    { label: "Usable", kind: "number", of: (server) => `${server.usable} / ${server.count}` },
    { label: "Where", of: (server) => [server.replicas, server.count], show: ([replicas, count]) => where(replicas, count) },
  ],
};

function where(replicas, count) {
  const more = count > replicas.length ? `and ${count - replicas.length} more` : null;
  if (replicas.every((one) => one.state === "ok")) {
    return [...replicas.map((one) => one.node), more].filter(Boolean).join(", ");
  }
  const said = replicas.map((one) => [one.node, state(one.state, one.status),
    one.failures > 0 ? el("span", { class: "muted" }, `${one.failures} failed starts`) : null,
    one.why === null ? null : el("span", { class: "why" }, one.why)]);
  return lines(more === null ? said : [...said, [more]]);
}

const PHASES = { ready: "ok", starting: "degraded", ended: "none" };

export const instances = {
  empty: "Nothing runs. Servers start when a session needs them.",
  order: (a, b) => byName(a.server, b.server) || byName(a.node, b.node) || a.startedAt - b.startedAt,
  describe: (entries, total) => total === 0 ? "" : String(total),
  columns: [
    { label: "Server", of: (one) => one.server },
    { label: "Node", of: (one) => one.node },
    { label: "State", kind: "short", of: (one) => one.state, show: (value) => state(PHASES[value] ?? "none", value) },
    { label: "Process", kind: "number", of: (one) => one.pid ?? one.transport },
    { label: "Sessions", kind: "mono", of: (one) => [one.sessions, one.sessionCount], show: ([sessions, count]) =>
      sessions.join(" ") + (count > sessions.length ? ` and ${count - sessions.length} more` : "") },
    { label: "Memory", kind: "number", of: (one) => one.rssMiB === null ? "" : `${one.rssMiB} MiB` },
    { label: "CPU", kind: "number", of: (one) => one.cpuSeconds === null ? "" : `${one.cpuSeconds} s` },
    { label: "Restarts", kind: "number", of: (one) => one.restarts },
    { label: "Started", kind: "short", of: (one) => one.startedAt, show: ago },
  ],
};

export const sessions = {
  empty: "No session is open.",
  order: (a, b) => b.lastUsed - a.lastUsed || b.createdAt - a.createdAt,
  describe: (entries, total) => total > entries.size ? `the last ${entries.size} of ${total}` :
    total === 0 ? "" : String(total),
  columns: [
    { label: "Session", kind: "mono", of: (one) => one.session },
    { label: "Servers", of: (one) => [one.servers, one.count], show: ([all, count]) => all.length === 0 ? "none yet" :
      all.map((at) => `${at.server} on ${at.node}`).join(", ") +
      (count > all.length ? ` and ${count - all.length} more` : "") },
    { label: "Begun", kind: "short", of: (one) => one.createdAt, show: ago },
    { label: "Last used", kind: "short", of: (one) => one.lastUsed, show: ago },
  ],
};

const OUTCOMES = { opened: "ok", refused: "failed", left: "none" };

export const decisions = {
  empty: "No decision yet. One is made when a session needs a server that it is not bound to.",
  order: (a, b) => b.number - a.number,
  describe: (entries) => entries.size === 0 ? "" : `the last ${entries.size}`,
  columns: [
    { label: "When", kind: "short", of: (one) => one.at, show: ago },
    { label: "Session", kind: "mono", of: (one) => one.session },
    { label: "Server", kind: "name", of: (one) => one.server },
    { label: "Outcome", kind: "short", of: (one) => one.outcome, show: (value) => state(OUTCOMES[value] ?? "none", value) },
    { label: "Node", kind: "name", of: (one) => one.node ?? "" },
    { label: "Took", kind: "number", of: (one) => `${one.tookMs} ms` },
    { label: "Why", kind: "wide", of: (one) => one.number, show: (_, one) => details(one) },
  ],
};

const EMITTERS = { gateway: "the gateway", node: "the node, in the server's place", server: "the server" };

export const errors = {
  empty: "No client has got an error since this process and its nodes began.",
  order: (a, b) => b.count - a.count || byName(a.server, b.server) || byName(a.node ?? "", b.node ?? ""),
  describe: (entries, total) => {
    const sum = [...entries.values()].reduce((all, one) => all + one.count, 0);
    const rest = total - entries.size;
    const others = rest === 0 ? "" : `, without ${rest} ${rest === 1 ? "kind" : "kinds"} that came less often`;
    return sum === 0 ? "" : `${sum} since each process began${others}`;
  },
  columns: [
    { label: "Server", of: (one) => one.server === "" ? "none" : one.server },
    { label: "Kind", kind: "name", of: (one) => one.kind },
    { label: "Made by", of: (one) => EMITTERS[one.emitter] ?? one.emitter },
    { label: "Counted by", of: (one) => one.node ?? "this process" },
    { label: "Count", kind: "number", of: (one) => one.count },
  ],
};

function amount(number, isBytes) {
  return isBytes ? `${Math.ceil(number / 2 ** 20)} MiB` : String(number);
}

/** The limits that were met come first, then those that are nearest. */
const share = (one) => one.used === null || one.most === 0 ? 0 : one.used / one.most;

export const limits = {
  empty: "No limit is known.",
  order: (a, b) => b.refused + b.gaveWay - a.refused - a.gaveWay || share(b) - share(a) || byName(a.name, b.name),
  describe: (entries) => {
    const met = [...entries.values()].filter((one) => one.refused + one.gaveWay > 0).length;
    return met === 0 ? "none was met" : `${met} met since this process began`;
  },
  columns: [
    { label: "Limit", of: (one) => one.name },
    { label: "In use", kind: "number", of: (one) => one.used === null ? "" :
      `${amount(one.used, one.isBytes)} / ${amount(one.most, one.isBytes)}` },
    { label: "Refused", kind: "number", of: (one) => one.refused },
    { label: "Made room", kind: "number", of: (one) => one.gaveWay },
  ],
};

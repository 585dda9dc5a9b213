// One decision: what it was made from, and what came of it.

import { el } from "./tables.js";

const BY = {
  strategy: "the strategy chose",
  fallback: "the gateway chose in its place",
  "least-loaded": "the gateway took the least loaded",
};

/** A line that says it in short, with everything behind it. */
export function details(decision) {
  const facts = el("dl", { class: "facts" });
  const add = (name, ...values) => {
    const said = values.filter((value) => value !== null && value !== "");
    if (said.length === 0) return;
    facts.append(el("dt", {}, name), el("dd", {}, ...said.map((value) => el("div", {}, value))));
  };
  add("Request", decision.request);
  add("Outcome", decision.why);
  add("Inputs", ...decision.inputs.map(input));
  add("Affinity", decision.affinity === null ? null : `the client's token names ${decision.affinity}`);
  add("Candidates", ...decision.candidates.map(candidate), more(decision.moreCandidates, "candidates"));
  add("Attempts", ...decision.attempts.map(attempt), more(decision.moreAttempts, "attempts"));
  return el("details", {}, el("summary", {}, summary(decision)), facts);
}

function summary(decision) {
  const last = decision.attempts.at(-1);
  if (last === undefined) return "nothing was chosen";
  if (last.by === "strategy") return last.strategy.name;
  if (last.by === "fallback") return `fallback: ${last.fallback}`;
  return "least loaded";
}

function more(count, what) {
  return count > 0 ? `and ${count} more ${what}` : null;
}

function input({ name, state, value }) {
  if (state === "shown") return `${name} = ${value}`;
  return `${name}: ${state === "hidden" ? "hidden, since it is likely a secret" : "none"}`;
}

function candidate(one) {
  const zone = one.zone === "" ? "" : `, zone ${one.zone}`;
  return `${one.node}: ${one.health}, room ${one.room}, ${one.bindings} bound, weight ${one.weight}${zone}`;
}

function attempt(one) {
  const outcome = { opened: ", which opened it", refused: `, in vain: ${one.reason}` }[one.outcome] ?? "";
  const said = [BY[one.by] + (one.node === null ? ": no node" : ` ${one.node}`) + outcome];
  if (one.fallback !== null) said.push(`since the strategy has not decided (${one.fallback})`);
  if (one.why !== null) said.push(`since ${one.why}`);
  const refused = one.answers.filter((answer) => !answer.usable).map((answer) => answer.node);
  if (refused.length > 0) said.push(`before, it named ${refused.join(", ")}`);
  if (one.excluded.length > 0) said.push(`left out: ${one.excluded.join(", ")}`);
  if (one.strategy !== null) {
    said.push(`${one.strategy.name} ${one.strategy.version}, topology ${one.strategy.generation}`);
  }
  return said.join("; ");
}

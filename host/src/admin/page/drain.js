// The one thing that this page can do: to drain a node, and to let it take sessions again.

import { el } from "./tables.js";
import { post } from "./stream.js";

const dialog = document.getElementById("drain");
const title = document.getElementById("drain-title");
const text = document.getElementById("drain-text");
const options = document.getElementById("drain-options");
const deadline = document.getElementById("drain-deadline");
const failed = document.getElementById("drain-failed");
const yes = document.getElementById("drain-yes");

let asked = null;

/** The button of a node's row; none where it makes no sense. */
export function button(node, isAllowed) {
  if (!isAllowed || node.state === "failed") return null;
  const word = node.draining ? "Undrain" : "Drain";
  const made = el("button", { type: "button", "aria-label": `${word} node ${node.id}` }, word);
  made.addEventListener("click", () => ask(node));
  return made;
}

function ask(node) {
  asked = node;
  title.textContent = node.draining ? `Let node ${node.id} take sessions again?` : `Drain node ${node.id}?`;
  text.textContent = node.draining
    ? "New sessions may begin there at once. Those that have left do not come back."
    : `It takes no new sessions, and lets those that it has go: ${node.bindings} bound now. Idle ones leave at ` +
      "once if they lose nothing, those with state at the deadline.";
  options.hidden = node.draining;
  deadline.value = "";
  failed.hidden = true;
  yes.textContent = node.draining ? "Undrain" : "Drain";
  yes.disabled = false;
  dialog.showModal();
}

yes.addEventListener("click", async () => {
  if (!deadline.checkValidity()) {
    deadline.reportValidity();
    return;
  }
  yes.disabled = true;
  const path = `api/cluster/nodes/${encodeURIComponent(asked.id)}/${asked.draining ? "undrain" : "drain"}`;
  const body = !asked.draining && deadline.value !== "" ? { deadlineMs: Number(deadline.value) * 1000 } : {};
  try {
    await post(path, body);
    dialog.close();
  } catch (error) {
    failed.textContent = String(error.message);
    failed.hidden = false;
    yes.disabled = false;
  }
});

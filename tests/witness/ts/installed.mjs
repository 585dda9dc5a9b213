// Finds the SDKs where setup.sh put them: this folder never holds any node_modules.

import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
const folder = process.env.MOORING_WITNESS_DIR ?? join(cache, "mooring", "witness");

/** A `require` that resolves packages as if from the folder of the installed `key`. */
export function requireFrom(key) {
  return createRequire(join(folder, "npm", key, "package.json"));
}

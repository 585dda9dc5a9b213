// Looks at a page in a browser, as stdin says: one JSON object a line, each answered by one line.
//
// {"open": URL, "scheme": "light" or "dark", "width": 1280, "height": 900, "script": true}
// {"see": SELECTOR, "text": TEXT, "absent": false}   waits until an element has the text, or none has
// {"click": SELECTOR}, {"fill": SELECTOR, "value": TEXT}, {"press": KEY}
// {"axe": true}     the serious and critical findings of axe-core
// {"shot": FILE, "whole": false}
// {"report": true}  requests elsewhere, what the page's policy has refused, errors, and loads

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { requireFrom } from "./installed.mjs";

const { chromium } = requireFrom("playwright")("playwright-core");
const axe = readFileSync(requireFrom("axe").resolve("axe-core/axe.min.js"), "utf8");

const PATIENCE = 20_000;

const browser = await chromium.launch({ executablePath: process.argv[2], args: ["--no-sandbox"] });
let page = null;
let origin = "";
const report = { elsewhere: [], refused: [], errors: [], loads: 0 };

async function open({ open: url, scheme = "light", width = 1280, height = 900 }) {
  await page?.context().close();
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height } });
  page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  origin = new URL(url).origin;
  page.on("request", (asked) => {
    if (!asked.url().startsWith(`${origin}/`)) report.elsewhere.push(asked.url());
  });
  page.on("pageerror", (error) => report.errors.push(String(error)));
  page.on("load", () => report.loads++);
  page.on("console", (message) => {
    if (/Content Security Policy|Trusted/i.test(message.text())) report.refused.push(message.text());
  });
  await page.goto(url);
  return true;
}

async function see({ see: selector, text = "", absent = false }) {
  const found = page.locator(selector).filter({ hasText: text }).first();
  await found.waitFor({ state: absent ? "hidden" : "visible" });
  return absent ? true : await found.innerText();
}

async function judge() {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  return violations.map(({ id, impact, nodes }) => ({
    id, impact, at: nodes.slice(0, 3).map((node) => [node.target.join(" "), node.failureSummary]),
  }));
}

async function run(line) {
  if ("open" in line) return open(line);
  if ("see" in line) return see(line);
  if ("click" in line) return await page.click(line.click), true;
  if ("fill" in line) return await page.fill(line.fill, line.value), true;
  if ("press" in line) {
    await page.keyboard.press(line.press);
    return await page.evaluate(() => document.activeElement?.outerHTML.slice(0, 200));
  }
  if ("axe" in line) return judge();
  if ("width" in line) return await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if ("shot" in line) return await page.screenshot({ path: line.shot, fullPage: line.whole === true }), true;
  if ("report" in line) return report;
  throw new Error(`not understood: ${JSON.stringify(line)}`);
}

console.log(JSON.stringify({ ok: "ready" }));
for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify({ ok: await run(JSON.parse(line)) }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await browser.close();

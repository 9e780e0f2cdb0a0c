// Opens pages in Chromium and prints what each reports, as a JSON line.
// Usage: node drive.mjs <folder of node_modules> <chromium> <screenshot> <url>...
import { createRequire } from "node:module";
import path from "node:path";

const [, , folder, executablePath, screenshot, ...urls] = process.argv;
const { chromium } = createRequire(path.join(folder, "from-here.js"))("playwright-core");

const quiet = ["background-networking", "component-update", "gpu", "quic", "sync"];
const args = ["--no-sandbox", "--no-first-run", ...quiet.map((name) => `--disable-${name}`)];
const browser = await chromium.launch({ executablePath, args });
try {
  for (const [index, url] of urls.entries()) {
    const page = await browser.newPage({ viewport: { width: 900, height: 420 } });
    const complaints = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    const response = await page.goto(url);
    await page.waitForFunction(() => window.report, null, { timeout: 20_000 });
    const report = await page.evaluate(() => window.report);
    await page.screenshot({ path: screenshot.replace("%", index) });
    console.log(JSON.stringify({ ...report, status: response.status(), complaints }));
    await page.close();
  }
} finally {
  await browser.close();
}

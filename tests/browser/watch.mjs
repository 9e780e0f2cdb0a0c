// Opens the status page in Chromium in several ways and prints what is on it, as a JSON line each.
// Usage: node watch.mjs <folder of node_modules> <chromium> <screenshots, with a %> <url>
import { createRequire } from "node:module";
import path from "node:path";

const [, , folder, executablePath, screenshot, url] = process.argv;
const { chromium } = createRequire(path.join(folder, "from-here.js"))("playwright-core");

const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, deviceScaleFactor: 2 };
const WAYS = {
  light: { colorScheme: "light", viewport: { width: 1100, height: 800 } },
  dark: { colorScheme: "dark", viewport: { width: 1100, height: 800 } },
  phone: { ...PHONE, colorScheme: "light" },
  "phone-dark": { ...PHONE, colorScheme: "dark" },
};

const quiet = ["background-networking", "component-update", "gpu", "quic", "sync"];
const args = ["--no-sandbox", "--no-first-run", ...quiet.map((name) => `--disable-${name}`)];
const browser = await chromium.launch({ executablePath, args });
try {
  for (const [name, way] of Object.entries(WAYS)) {
    const context = await browser.newContext(way);
    const page = await context.newPage();
    const complaints = [];
    const asked = new Set();
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => asked.add(new URL(request.url()).origin));
    await page.goto(url);
    await page.waitForSelector("#plots figure");
    const report = await page.evaluate(() => ({
      text: document.body.innerText,
      lines: [...document.querySelectorAll("svg path:not(.rule)")].map((one) => one.getAttribute("d").length > 0),
      titles: [...document.querySelectorAll("figcaption strong")].map((one) => one.textContent),
      ground: getComputedStyle(document.body).backgroundColor,
      // A phone widens its window to what the page wants, so the screen is what counts.
      tooWide: [...document.querySelectorAll("body *")]
        .filter((one) => one.getBoundingClientRect().right > screen.width || one.scrollWidth > one.clientWidth + 1)
        .filter((one) => getComputedStyle(one).display !== "inline" && !one.closest("svg"))
        .map((one) => `${one.tagName} ${one.textContent.slice(0, 40)}`),
    }));
    await page.screenshot({ path: screenshot.replace("%", name), fullPage: true });
    console.log(JSON.stringify({ ...report, name, complaints, elsewhere: asked.size - 1 }));
    await context.close();
  }
} finally {
  await browser.close();
}

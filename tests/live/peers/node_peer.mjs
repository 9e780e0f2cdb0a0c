// Node's socket.io-client against our server: one conversation, reported as JSON lines.
// Usage: node node_peer.mjs <folder of node_modules> <url> <comma-separated transports>
import { createRequire } from "node:module";
import path from "node:path";

const [, , folder, url, transports] = process.argv;
const { io } = createRequire(path.join(folder, "from-here.js"))("socket.io-client");

const report = (name, value) => console.log(JSON.stringify([name, value]));
const options = {
  path: "/v1/updates",
  transports: transports.split(","),
  rejectUnauthorized: false, // over TLS, the test's certificate is its own
  reconnectionDelay: 20,
  reconnectionDelayMax: 50,
};
const once = (emitter, name) => new Promise((done) => emitter.once(name, (...values) => done(values)));
const plain = (value) => JSON.parse(JSON.stringify(value));
const ask = (...values) => new Promise((done) => socket.emit("ask", ...values, (...answer) => done(answer)));
const hex = (value) => (Buffer.isBuffer(value) ? { hex: value.toString("hex") } : value);

const socket = io(url, { ...options, auth: { token: "é😀" }, query: { colour: "blue" } });
socket.on("question", (what, answer) => answer({ answered: what }));

const greeting = once(socket, "welcome");
const upgraded = transports === "polling,websocket" ? once(socket.io, "open").then(() => once(socket.io.engine, "upgrade")) : null;
await once(socket, "connect");
report("welcome", plain(await greeting));
if (upgraded) await upgraded;
report("transport", socket.io.engine.transport.name);

const text = ["text", 1, 2.5, -0, true, null, { "ключ": ["😀", { deep: [] }] }, "\ud800", "\u2028\u001e"];
let back = once(socket, "echo");
socket.emit("say", ...text);
report("echo", plain(await back));

report("ack", plain(await ask({ n: 1 }, "x")));

back = once(socket, "echo");
socket.emit("say", { file: Buffer.from("00ff", "hex"), list: [Buffer.from("01", "hex")] });
const [binary] = await back;
report("binary", [hex(binary.file), hex(binary.list[0])]);

const [first, second] = await ask(Buffer.from("abcd", "hex"), "beside");
report("binary ack", [hex(first), second]);

const large = "x".repeat(600000);
report("large", (await ask(large))[0] === large);

const answered = once(socket, "answered");
socket.emit("call me", "why");
report("called", plain(await answered));

const numbers = [];
const all = new Promise((done) => socket.on("number", (n) => { numbers.push(n); if (n === 199) done(); }));
socket.emit("count", 200);
await all;
report("order", numbers.every((n, at) => n === at));

const custom = socket.io.socket("/custom");
await once(custom, "connect");
report("custom", custom.id !== socket.id);
custom.disconnect();

const nowhere = io(url, { ...options, forceNew: true }).io.socket("/nowhere");
const [unknown] = await once(nowhere, "connect_error");
report("unknown namespace", unknown.message);
nowhere.io._close();

const refused = io(url, { ...options, forceNew: true, auth: { refuse: "Go away" } });
const [refusal] = await once(refused, "connect_error");
report("refused", refusal.message);
refused.disconnect();

const before = socket.id;
const lost = once(socket, "disconnect");
const again = once(socket, "connect");
socket.emit("drop me");
report("lost", ["transport close", "transport error"].includes((await lost)[0]));
await again;
report("reconnected", socket.id !== before && (await ask("still there?"))[0]);

socket.disconnect();
report("done", true);

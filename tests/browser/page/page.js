// What a web client does, step by step. The steps' results become window.report.
const report = { steps: {} };
const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const random = (size) => crypto.getRandomValues(new Uint8Array(size));

const injected = window.__HAPPY_CONFIG__;
const server = injected ? injected.serverUrl : new URLSearchParams(location.search).get("server");

async function call(method, path, body, token) {
  const headers = { "X-Happy-Client": "web/1.0.0" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(server + path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function banner() {
  const answer = await fetch(`${server}/`, { headers: { Accept: "text/plain" } });
  return answer.text();
}

async function login() {
  const keys = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  const challenge = random(32);
  const { success, token } = await call("POST", "/v1/auth", {
    publicKey: base64(await crypto.subtle.exportKey("raw", keys.publicKey)),
    challenge: base64(challenge),
    signature: base64(await crypto.subtle.sign("Ed25519", keys.privateKey, challenge)),
  });
  return { success, token };
}

// A further device asks, the first one approves, and the device gets a token of its own.
async function pair(approver) {
  const publicKey = base64(random(32));
  const before = await call("POST", "/v1/auth/account/request", { publicKey });
  await call("POST", "/v1/auth/account/response", { publicKey, response: "sealed" }, approver);
  const after = await call("POST", "/v1/auth/account/request", { publicKey });
  return { states: [before.state, after.state], response: after.response, token: after.token };
}

function connect(token, transport) {
  return new Promise((resolve, reject) => {
    const auth = { token, clientType: "user-scoped", happyClient: "web/1.0.0" };
    const socket = io(server, { path: "/v1/updates", transports: [transport], auth, forceNew: true });
    socket.on("connect", () => resolve(socket));
    socket.on("connect_error", reject);
  });
}

const heard = (socket) => new Promise((resolve) => socket.once("update", resolve));

async function exchange(token) {
  const sockets = [await connect(token, "websocket"), await connect(token, "polling")];
  const pongs = await Promise.all(sockets.map((socket) => socket.emitWithAck("ping")));
  const updates = sockets.map(heard);
  const { session } = await call("POST", "/v1/sessions", { tag: "browser", metadata: "sealed" }, token);
  const bodies = (await Promise.all(updates)).map(({ body }) => [body.t, body.id === session.id]);
  const transports = sockets.map((socket) => socket.io.engine.transport.name);
  sockets.forEach((socket) => socket.close());
  return { transports, pongs, bodies, session: session.id };
}

async function attach(token, session) {
  const path = `/v1/sessions/${session}/attachments`;
  const content = Uint8Array.from({ length: 200_000 }, (_, index) => (index * index) >> 3);
  const request = { filename: "picture.png", size: content.length };
  const { ref, uploadUrl, method } = await call("POST", `${path}/request-upload`, request, token);
  const headers = { "Content-Type": "application/octet-stream" };
  const stored = await fetch(uploadUrl, { method, headers, body: content });
  const { downloadUrl } = await call("POST", `${path}/request-download`, { ref }, token);
  const got = new Uint8Array(await (await fetch(downloadUrl)).arrayBuffer());
  const same = got.length === content.length && got.every((byte, index) => byte === content[index]);
  return { stored: await stored.json(), same };
}

async function step(name, result) {
  const { token, session, ...shown } = typeof result === "string" ? { text: result } : result;
  report.steps[name] = shown;
  const item = document.createElement("li");
  item.textContent = `${name}: ${JSON.stringify(shown)}`;
  document.getElementById("done").append(item);
  return result;
}

async function main() {
  document.getElementById("origin").textContent = location.origin;
  document.getElementById("server").textContent = server;
  report.crossOrigin = server !== location.origin;
  report.injected = injected || null;
  await step("banner", await banner());
  const first = await step("login", await login());
  const second = await step("pair", await pair(first.token));
  const sockets = await step("sockets", await exchange(second.token));
  await step("attachment", await attach(second.token, sockets.session));
}

main()
  .catch((error) => {
    report.error = String(error);
    document.getElementById("failure").textContent = report.error;
  })
  .finally(() => {
    window.report = report;
  });

// Node's socket.io-client, which loses its connection and comes back; what happens is reported as JSON lines.
// Usage: node recovery_peer.mjs <folder of node_modules> <url> <token> <another account's token> <story>
// With two URLs and a comma between them, the client goes to the first one, and then to each in turn.
import { createRequire } from "node:module";
import path from "node:path";

const [, , folder, urls, token, foreign, story] = process.argv;
const [url, other = url] = urls.split(",");
const { io } = createRequire(path.join(folder, "from-here.js"))("socket.io-client");

const options = { path: "/v1/updates", transports: ["websocket"], forceNew: true, reconnection: false };
const socket = io(url, { ...options, auth: { token, clientType: "user-scoped" } });
const heard = [];
socket.on("update", (update) => heard.push(JSON.parse(update.body.metadata)));
socket.on("connect", () => heard.push("connect"));

const report = (name, value) => console.log(JSON.stringify([name, value]));
const once = (emitter, name) => new Promise((done) => emitter.once(name, (...values) => done(values)));
const until = async (length) => {
  while (heard.length < length) await once(socket, "update");
  return heard.splice(0);
};
// A new session is told to all of the account's user-scoped sockets.
const change = async (n) => {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const body = JSON.stringify({ tag: `tag ${n}`, metadata: JSON.stringify(n), agentState: null });
  const answer = await fetch(`${url}/v1/sessions`, { method: "POST", headers, body });
  if (answer.status !== 200) throw new Error(await answer.text());
};
const back = async () => {
  const connected = once(socket, "connect");
  socket.io.uri = socket.io.uri === url ? other : url;
  socket.connect();
  await connected;
  return Boolean(socket.recovered);
};

const stories = {
  lost: async () => {
    const lost = once(socket, "disconnect");
    socket.io.engine.close();
    await lost;
    await change(2);
    await change(3);
    report("recovered", await back());
    report("heard", heard.splice(0));
    await change(4);
    report("then", await until(1));
  },
  // The client gives its connection up without a word; the server still believes in it.
  "half-open": async () => {
    const engine = socket.io.engine;
    engine.transport.close = () => engine.transport;
    engine.transport.onData = () => {};
    await change(2);
    await change(3);
    const lost = once(socket, "disconnect");
    engine._onClose("ping timeout");
    await lost;
    report("recovered", await back());
    report("heard", heard.splice(0));
    await change(4);
    report("then", await until(1));
  },
  twice: async () => {
    for (const n of [2, 3]) {
      const lost = once(socket, "disconnect");
      socket.io.engine.close();
      await lost;
      await change(n);
      report(`recovered ${n}`, await back());
      report(`heard ${n}`, heard.splice(0));
    }
  },
  left: async () => {
    socket.disconnect();
    await change(2);
    report("recovered", await back());
    report("heard", heard.splice(0));
  },
  foreign: async () => {
    const lost = once(socket, "disconnect");
    socket.io.engine.close();
    await lost;
    const auth = { token: foreign, clientType: "user-scoped", pid: socket._pid, offset: socket._lastOffset };
    const thief = io(other, { ...options, auth });
    await once(thief, "connect");
    report("stolen", thief.id === before || thief._pid === socket._pid);
    thief.disconnect();
    report("recovered", await back());
    report("heard", heard.splice(0));
  },
  restarted: async () => {
    const lost = once(socket, "disconnect");
    report("ready", true);
    await lost;
    socket.io.reconnection(true);
    socket.io.reconnectionDelay(50);
    socket.io.reconnectionDelayMax(200);
    const connected = once(socket, "connect");
    socket.connect();
    await connected;
    report("recovered", socket.recovered);
  },
};

await once(socket, "connect");
report("at first", Boolean(socket.recovered));
await change(1);
report("start", await until(2));
const before = socket.id;
await stories[story]();
report("same id", socket.id === before);
socket.disconnect();

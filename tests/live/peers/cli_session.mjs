// A session of the published `happy`: its own client of sessions, in the place of the program that has an agent.
// What the person says is heard and answered, and noted in the session's state. Between two runs it keeps the
// session's key in a file, as `happy` does to resume one.
// Usage: node cli_session.mjs <folder of node_modules>, in the environment of `happy`, with an account paired
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [, , folder] = process.argv;
const library = path.join(folder, "node_modules", "happy", "dist", "lib.mjs");
const { ApiClient, ApiSessionClient } = await import(pathToFileURL(library));
const home = (name) => path.join(process.env.HAPPY_HOME_DIR, name);
const read = (name) => JSON.parse(fs.readFileSync(home(name), "utf8"));
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));

const { token, encryption } = read("access.key");
const keys = { publicKey: bytes(encryption.publicKey), machineKey: bytes(encryption.machineKey) };
const kept = "session.json";
const resumes = fs.existsSync(home(kept));
if (!resumes) {
  const api = await ApiClient.create({ token, encryption: { type: "dataKey", ...keys } });
  const metadata = { path: process.cwd(), host: "laptop", machineId: read("settings.json").machineId };
  const made = await api.getOrCreateSession({ tag: "life", metadata, state: {} });
  const encryptionKey = Buffer.from(made.encryptionKey).toString("base64");
  fs.writeFileSync(home(kept), JSON.stringify({ ...made, encryptionKey }));
}
const session = read(kept);
const client = new ApiSessionClient(token, { ...session, encryptionKey: bytes(session.encryptionKey) });
client.onUserMessage(({ content: { text } }) => {
  client.updateAgentState((state) => ({ ...state, heard: text }));
  client.sendAgentMessage("claude", { type: "message", message: `heard ${text}` });
});
if (resumes) {
  client.skipExistingMessages();
  await client.receiveSync.invalidateAndAwait(); // what comes until then is passed over
}
console.log(`session ${session.id}.`);

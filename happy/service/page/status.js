"use strict";
// Shows what status.json says, anew every few seconds; nothing comes from elsewhere.

const EVERY = 5000;
const HOUR = 3600000;

const count = (value) => (value === null ? "—" : Math.round(value).toLocaleString("en"));
const several = (value, one) => `${count(value)} ${one}${value === 1 ? "" : "s"}`;
const rate = (value) => (value === null ? "—" : value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 }));
const millis = (value) => (value === null ? "—" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);

function bytes(value) {
  if (value === null) return "—";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function span(ms) {
  if (ms === null) return "—";
  const minutes = Math.floor(ms / 60000);
  if (minutes < 1) return `${Math.floor(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} days`;
}

const PLOTS = [
  { title: "Sockets", form: count, lines: { user: "users", session: "sessions", machine: "machines" } },
  { title: "A minute", form: rate, lines: { messages: "messages", heartbeats: "heartbeats" } },
  { title: "Storing a batch", form: millis, lines: { commitMs: "mean", commitSlowMs: "slowest 1 %" } },
  { title: "Calls between devices", form: millis, lines: { callMs: "mean", callSlowMs: "slowest 1 %" } },
  { title: "Memory", form: bytes, lines: { memoryBytes: "in use" } },
  { title: "Database", form: bytes, lines: { databaseBytes: "size" } },
];

const element = (name, facts = {}, ...children) => {
  const made = document.createElement(name);
  Object.assign(made, facts);
  made.append(...children);
  return made;
};

const drawn = (name, facts) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(facts)) made.setAttribute(key, value);
  return made;
};

function numbers(status) {
  const { user, session, machine } = status.sockets;
  const backup = status.lastBackupAt === null ? "never" : `${span(Date.now() - status.lastBackupAt)} ago`;
  const shown = [
    ["Up for", span(status.uptimeMs)],
    ["Sockets", count(user + session + machine), [several(user, "user"), several(session, "session"), several(machine, "machine")].join(", ")],
    ["Messages a minute", rate(status.messagesPerMinute)],
    ["Accounts", count(status.accounts)],
    ["Pairings that wait", count(status.pairings)],
    ["Database", bytes(status.databaseBytes), status.postgres === null ? "" : `PostgreSQL ${status.postgres}`],
    ["Files", bytes(status.filesBytes)],
    ["Free on the disk", bytes(status.freeBytes)],
    ["Last backup", backup],
  ];
  const { accountSockets, accountSessions, accountAttachments } = status.quotas;
  const most = [];
  if (accountSockets) most.push(several(accountSockets, "socket"));
  if (accountSessions) most.push(several(accountSessions, "session"));
  if (accountAttachments) most.push(`${bytes(accountAttachments)} of attachments`);
  if (most.length) shown.push(["Quotas", most.join(", ")]);
  for (const { name, state, version, host, since, sockets, filesElsewhere, otherSecret } of status.nodes) {
    const facts = [state];
    if (host) facts.push(`at ${host}`);
    if (version) facts.push(`version ${version}`);
    if (since) facts.push(`for ${span(Date.now() - since)}`);
    if (Number.isInteger(sockets)) facts.push(several(sockets, "socket"));
    if (filesElsewhere) facts.push("files elsewhere");
    if (otherSecret) facts.push("another master secret");
    shown.push(["Node", name, facts.join(", ")]);
  }
  return shown.map(([name, value, more]) => {
    const told = element("dd", { textContent: value });
    if (more) told.append(element("small", { textContent: more }));
    const wide = value.length > 16 || (more ?? "").length > 60;
    return element("div", { className: wide ? "wide" : "" }, element("dt", { textContent: name }), told);
  });
}

// A line of points, broken where nothing is known; one that stands alone is a dot.
function line(at, values, from, top) {
  let path = "";
  let pen = "M";
  values.forEach((value, index) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const x = ((at[index] - from) / HOUR) * 600;
    path += `${pen}${x.toFixed(1)} ${(100 - (value / top) * 96).toFixed(1)}${pen === "M" ? "h0" : ""}`;
    pen = "L";
  });
  return path;
}

function plot({ title, form, lines }, history, from) {
  const names = Object.keys(lines);
  const top = Math.max(...names.flatMap((name) => history[name].map((value) => value ?? 0))) || 1;
  const legend = element("ul");
  const picture = drawn("svg", { viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img" });
  picture.append(drawn("path", { class: "rule", d: "M0 100H600M0 4H600" }));
  names.forEach((name, index) => {
    const latest = history[name].at(-1) ?? null;
    legend.append(element("li", { className: `s${index}`, textContent: `${lines[name]} ${form(latest)}` }));
    picture.append(drawn("path", { class: `s${index}`, d: line(history.at, history[name], from, top) }));
  });
  picture.setAttribute("aria-label", `${title}, the last hour, up to ${form(top)}`);
  const scale = element("div", { className: "scale" });
  scale.append(
    element("span", { textContent: "an hour ago" }),
    element("span", { textContent: `top ${form(top)}` }),
    element("span", { textContent: "now" }),
  );
  const caption = element("figcaption", {}, element("strong", { textContent: title }), legend);
  return element("figure", {}, caption, picture, scale);
}

function show({ status, history }) {
  document.getElementById("version").textContent = status.version;
  const state = document.getElementById("state");
  state.className = status.ready ? "good" : "bad";
  state.textContent = status.ready ? "ready" : `not ready: ${status.reasons.join(", ")}`;
  document.getElementById("numbers").replaceChildren(...numbers(status));
  const from = (history.at.at(-1) ?? Date.now()) - HOUR;
  document.getElementById("plots").replaceChildren(...PLOTS.map((one) => plot(one, history, from)));
}

let answeredAt = null;

async function renew() {
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(2 * EVERY) });
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
    answeredAt = new Date();
  } catch {
    const state = document.getElementById("state");
    state.className = "bad";
    state.textContent = answeredAt ? `no answer since ${answeredAt.toLocaleTimeString()}` : "no answer";
  }
  setTimeout(renew, EVERY);
}

renew();

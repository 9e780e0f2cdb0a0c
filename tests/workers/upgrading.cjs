// Connects several times as socket.io-client does by itself: by polling, which is upgraded to WebSocket.
// Says how each connection got on: [upgraded, answer to a ping, disconnected as it wanted].
const [url, token, count] = process.argv.slice(2);
const { io } = require("socket.io-client");

const connect = () => new Promise((done) => {
  const socket = io(url, { path: "/v1/updates", forceNew: true, reconnection: false, auth: { token } });
  socket.on("connect_error", (error) => done([false, error.message, false]));
  socket.on("connect", () => {
    const upgraded = () => {
      socket.on("disconnect", (reason) => done([true, "pong", reason === "io client disconnect"]));
      socket.emit("ping", () => socket.disconnect());
    };
    if (socket.io.engine.transport.name === "websocket") return upgraded();
    socket.io.engine.once("upgrade", upgraded);
    socket.io.engine.once("upgradeError", (error) => done([false, error.message, false]));
  });
});

Promise.all(Array.from({ length: Number(count) }, connect)).then((all) => {
  console.log(JSON.stringify(all));
  process.exit(0);
});

// The relay of the hub on the reference implementation: what a drone sends goes to the session's IDE and is acked.
// It keeps nothing, so it does less than the hub does.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, maxHttpBufferSize: 1 << 20 });
const ides = new Map();
const drones = new Map();

io.on("connection", (socket) => {
  const { registrationId, token } = socket.handshake.auth;
  if (registrationId === undefined) {
    let session;
    socket.on("requestSessionLock", (registration, _project, chatSession, ack) => {
      session = chatSession;
      ides.set(session, socket);
      ack(drones.has(registration), session);
    });
    socket.on("submitPrompt", (_content, ack) => {
      ack(true, { turnId: session });
      drones.get(session)?.emit("processWorkOrder", {}, { _id: session, workOrder: { attempt: 1, generation: 1, firstSeq: 1 } }, () => {});
    });
    return;
  }
  drones.set(registrationId, socket);
  socket.on("hello", (_hello, ack) => ack({ generation: 1 }));
  let ide;
  socket.on("thinking", (content, meta, ack) => {
    ide ??= ides.get(registrationId);
    ide.emit("thinking", content, { turnId: meta.turnId, seq: meta.seq, at: new Date().toISOString() });
    ack(true);
  });
});

http.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${http.address().port}` }));
});

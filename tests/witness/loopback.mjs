// Loaded with `node --import` before a server that has no option for its address: it then
// listens on 127.0.0.1 only, and with port 0 says on stdout which port it got.

import { Server } from "node:net";

const listen = Server.prototype.listen;

Server.prototype.listen = function (port, ...rest) {
  const isPort = typeof port === "number" || (typeof port === "string" && /^\d+$/.test(port));
  if (!isPort || typeof rest[0] === "string") return listen.call(this, port, ...rest);
  this.once("listening", () => {
    if (Number(port) === 0) process.stdout.write(`${this.address().port}\n`);
  });
  return listen.call(this, Number(port), "127.0.0.1", ...rest);
};

// Loaded with `node --import` before a server that has no option for its address: it then
// listens on 127.0.0.1 only, and with port 0 says on stdout which port it got.
// LOOPBACK_PORT is for a server that has no option for its port either.

import { Server } from "node:net";

const listen = Server.prototype.listen;

Server.prototype.listen = function (given, ...rest) {
  const isPort = typeof given === "number" || (typeof given === "string" && /^\d+$/.test(given));
  if (!isPort || typeof rest[0] === "string") return listen.call(this, given, ...rest);
  const port = Number(process.env.LOOPBACK_PORT ?? given);
  this.once("listening", () => {
    if (port === 0) process.stdout.write(`${this.address().port}\n`);
  });
  return listen.call(this, port, "127.0.0.1", ...rest);
};

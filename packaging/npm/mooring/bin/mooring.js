#!/usr/bin/env node
// Starts the binary of this platform's package in the place of this process, as far as Node.js can:
// same streams, same arguments, its signals, its exit status. Nothing is downloaded.
'use strict';

const { spawn } = require('node:child_process');
const { constants } = require('node:os');

const PACKAGE = `mooring-gateway-${process.platform}-${process.arch}`;

// MOORING_BINARY names another binary, as one that was built on a platform without a package.
function binary() {
  if (process.env.MOORING_BINARY) {
    return process.env.MOORING_BINARY;
  }
  try {
    return require.resolve(`${PACKAGE}/bin/mooring`);
  } catch {
    console.error(
      `mooring: there is no package ${PACKAGE} here. Either this platform has none, and ` +
        'MOORING_BINARY can name a binary that you have built; or optional dependencies were left ' +
        'out, and `npm install --include=optional` brings it.'
    );
    process.exit(1);
  }
}

const child = spawn(binary(), process.argv.slice(2), { stdio: 'inherit' });

// A terminal sends its signals to both. One that is sent to this process alone has to be handed on,
// and this process has to stay until the gateway has ended its servers.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']) {
  process.on(signal, () => {
    if (!(process.stdin.isTTY && signal === 'SIGINT')) {
      child.kill(signal);
    }
  });
}

child.on('error', (error) => {
  console.error(`mooring: cannot start ${error.path || 'the binary'}: ${error.message}`);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  process.exit(code === null ? 128 + constants.signals[signal] : code);
});

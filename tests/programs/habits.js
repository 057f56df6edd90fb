// A function with habits that mislead (Node http): see habits.py.
'use strict';

const crypto = require('crypto');
const http = require('http');

const { POLL, POLLED, LAZY } = process.env;
const agent = new http.Agent({ keepAlive: true });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
let polls = false;

http.createServer(async (request, response) => {
  poll();
  const plan = request.headers['x-plan'];
  const nodes = plan.split('|').map((node) => node.split(';'));
  const [, , before, after, mode] = nodes[0];
  if (mode === 's') {
    await sleep(Number(before));
    await call(plan, nodes[1]);
  } else {
    setTimeout(() => call(plan, nodes[1]), Number(before));
  }
  await sleep(Number(after));
  response.writeHead(200, { 'Content-Length': 3 });
  response.end('ok\n');
}).listen(0, '127.0.0.1', function listening() {
  console.log('listening', this.address().port);
});

function call(plan, [port, path]) {
  return new Promise((done) => {
    const headers = { 'X-Plan': plan, 'X-Node': '1' };
    http.get({ host: '127.0.0.1', port, path, agent, headers }, (answer) => {
      answer.resume();
      answer.on('end', done);
    }).on('error', done);
  });
}

// Once.
function poll() {
  if (!POLL || polls) return;
  polls = true;
  setInterval(() => {
    const target = `/hop/${crypto.randomBytes(8).toString('hex')}/${'0'.repeat(16)}`;
    call(`|${POLLED};${target};0;0;s;`, [POLLED, target]);
  }, Number(POLL));
}

if (!LAZY) poll();

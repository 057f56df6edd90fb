// The test function in Node (http). Contract: ../CONTRACT.md.
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const os = require('os');
const path = require('path');

const { PORT, HOST, UNIX, CERTIFICATE, NEXT, TRUTH, CLIENT } = process.env;
const truth = TRUTH ? fs.openSync(TRUTH, 'a') : null;
const buffer = Buffer.alloc(65536, 'x');
const pem = CERTIFICATE && fs.readFileSync(CERTIFICATE);
const [plain, secure] = [client(http, {}), client(https, { ca: pem })];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const routes = {
  '/hello': (request, response) => text(response, 200, 'hello from node\n'),
  '/delay': async (request, response, query) => {
    await sleep(number(query, 'ms'));
    text(response, 200, `delayed ${number(query, 'ms')}\n`);
  },
  '/stream': stream,
  '/big': big,
  '/file': file,
  '/upload': upload,
  '/error': (request, response, query) => {
    const status = number(query, 'status');
    if (status === 204 || status === 304) response.writeHead(status).end();
    else text(response, status, `status ${status}\n`);
  },
  '/abort': (request, response, query) => partial(response, () => {
    if (number(query, 'reset')) request.socket.resetAndDestroy();
    else request.socket.destroy();
  }),
  '/die': (request, response) => partial(response, () => process.exit(3)),
  '/chain': async (request, response, query) => {
    const answer = await call(query.get('path') ?? '');
    text(response, answer.status, answer.body);
  },
  '/fan': async (request, response, query) => {
    const calls = Array.from({ length: number(query, 'n') }, () => call(query.get('path') ?? ''));
    const answers = await Promise.all(calls);
    text(response, 200, `fan ${answers.map((answer) => answer.status).join(',')}\n`);
  },
  '/hop': hop,
  '/burn': (request, response, query) => {
    const began = cpu();
    while (cpu() - began < number(query, 'ms') * 1e6);
    text(response, 200, `cpu_ns=${cpu() - began}\n`);
  },
  '/echo-headers': (request, response) => {
    const raw = request.rawHeaders;
    text(response, 200, raw.map((part, i) => (i % 2 ? `${part}\n` : `${part}: `)).join(''));
  },
};

const server = createServer(async (request, response) => {
  const started = process.hrtime.bigint();
  response.record = once(() => record(request, started));
  response.on('finish', response.record);
  response.on('close', response.record);
  const url = new URL(request.url, 'http://function');
  const handler = routes[url.pathname.replace(/^\/t\/[^/]*\//, '/').replace(/^\/hop\/.*/, '/hop')];
  if (handler) await handler(request, response, url.searchParams);
  else text(response, 404, 'not found\n');
});
// A kept connection that is closed just as it is taken fails its call.
server.keepAliveTimeout = 60_000;
server.listen(UNIX ? { path: UNIX } : { port: Number(PORT ?? 0), host: HOST ?? '127.0.0.1', backlog: 1024 }, () => {
  console.log('listening', UNIX ?? server.address().port);
});

function client({ get, Agent }, trust) {
  const how = {
    direct: { agent: false },
    named: { agent: false, family: 4 },
    pooled: { agent: new Agent({ keepAlive: true, maxSockets: 4 }) },
  }[CLIENT] ?? { agent: new Agent({ keepAlive: true }) };
  return (url, headers, then) => get(url, { ...how, ...trust, headers }, then);
}

function createServer(listener) {
  return pem ? https.createServer({ cert: pem, key: pem }, listener) : http.createServer(listener);
}

function once(action) {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}

function number(query, parameter) {
  return Number(query.get(parameter) ?? 0);
}

function cpu() {
  const { user, system } = (process.threadCpuUsage ?? process.cpuUsage).call(process);
  return (user + system) * 1000;
}

function text(response, status, body) {
  response.writeHead(status, { 'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

async function stream(request, response, query) {
  const sse = number(query, 'sse');
  response.writeHead(200, { 'Content-Type': sse ? 'text/event-stream' : 'text/plain' });
  for (let i = 1; i <= number(query, 'n'); i++) {
    if (i > 1) await sleep(number(query, 'ms'));
    response.write(sse ? `data: piece ${i}\n\n` : `piece ${i}\n`);
  }
  response.end();
}

async function big(request, response, query) {
  let left = number(query, 'bytes');
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': left });
  while (left > 0 && !response.destroyed) {
    const piece = left < buffer.length ? buffer.subarray(0, left) : buffer;
    left -= piece.length;
    if (!response.write(piece)) await drained(response);
  }
  response.end();
}

function drained(response) {
  return new Promise((done) => {
    const either = () => {
      response.off('drain', either);
      response.off('close', either);
      done();
    };
    response.on('drain', either);
    response.on('close', either);
  });
}

function file(request, response, query) {
  const size = number(query, 'bytes');
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': size });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'function-'));
  const sparse = fs.openSync(path.join(folder, 'sparse'), 'w+');
  fs.rmSync(folder, { recursive: true });
  fs.ftruncateSync(sparse, size);
  fs.createReadStream(null, { fd: sparse, start: 0 }).pipe(response);
}

function upload(request, response, query) {
  let size = 0;
  request.on('data', (piece) => { size += piece.length; });
  request.on('end', async () => {
    await sleep(number(query, 'delay'));
    text(response, 200, `bytes=${size}\n`);
  });
}

function partial(response, then) {
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 1000 });
  response.write(buffer.subarray(0, 100), () => {
    response.record();
    then();
  });
}

// Follows a plan's node.
async function hop(request, response) {
  const plan = request.headers['x-plan'];
  const [, , before, after, mode, children] = nodeOf(plan, request.headers['x-node']);
  if (Number(before)) await sleep(Number(before));
  const answers = [];
  for (const child of children.split(',').filter(Boolean)) {
    const answer = hopTo(plan, child);
    answers.push(mode === 's' ? await answer : answer);
  }
  const done = (await Promise.all(answers)).every((answer) => answer.status === 200);
  if (Number(after)) await sleep(Number(after));
  text(response, done ? 200 : 502, done ? 'ok\n' : 'a child failed\n');
}

function hopTo(plan, index) {
  const [port, target] = nodeOf(plan, index);
  const host = CLIENT === 'named' ? 'localhost' : '127.0.0.1';
  return exchange(`${pem ? 'https' : 'http'}://${host}:${port}${target}`, { 'X-Plan': plan, 'X-Node': index });
}

function nodeOf(plan, index) {
  return plan.split('|')[Number(index)].split(';');
}

function call(target) {
  return exchange(NEXT + target, {});
}

async function fetched(url, headers) {
  try {
    const answer = await fetch(url, { headers });
    return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
  } catch (error) {
    return { status: 502, body: `${error}\n` };
  }
}

function exchange(url, headers) {
  if (CLIENT === 'fetch') return fetched(url, headers);
  return new Promise((done) => {
    const failed = (error) => done({ status: 502, body: `${error}\n` });
    const request = (url.startsWith('https:') ? secure : plain)(url, headers, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => done({ status: answer.statusCode, body: Buffer.concat(pieces) }));
      answer.on('error', failed);
    });
    request.on('error', failed);
  });
}

function record(request, started) {
  if (truth === null) return;
  const times = `"started_ns":${started},"ended_ns":${process.hrtime.bigint()}`;
  fs.writeSync(truth, `{"path":${JSON.stringify(request.url)},"pid":${process.pid},${times}}\n`);
}

// What the framework functions share: clients, the plan of /hop, the ground truth. Contract: ../CONTRACT.md.
'use strict';

const fs = require('fs');
const http = require('http');

const { PORT, HOST, NEXT, TRUTH, CLIENT } = process.env;
const truth = TRUTH ? fs.openSync(TRUTH, 'a') : null;
const agent = new http.Agent({ keepAlive: true });

const buffer = Buffer.alloc(65536, 'x');
const address = { port: Number(PORT ?? 0), host: HOST ?? '127.0.0.1', backlog: 1024 };
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const withoutMark = (url) => url.replace(/^\/t\/[^/]*\//, '/');

// Each gives status and body.
const clients = {
  axios: async (url, headers) => {
    const axios = require('axios');
    const answer = await axios.get(url, { headers, httpAgent: agent, responseType: 'text', validateStatus: null });
    return { status: answer.status, body: answer.data };
  },
  fetch: async (url, headers) => {
    const answer = await fetch(url, { headers });
    return { status: answer.status, body: await answer.text() };
  },
  http: (url, headers) => new Promise((done, failed) => {
    const request = http.get(url, { agent, headers }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => done({ status: answer.statusCode, body: Buffer.concat(pieces) }));
      answer.on('error', failed);
    });
    request.on('error', failed);
  }),
};

async function get(url, headers = {}) {
  try {
    return await clients[CLIENT ?? 'http'](url, headers);
  } catch (error) {
    return { status: 502, body: `${error}\n` };
  }
}

async function fan(n, path) {
  const answers = await Promise.all(Array.from({ length: n }, () => get(NEXT + path)));
  return `fan ${answers.map((answer) => answer.status).join(',')}\n`;
}

// Follows a plan's node: whether every request that it makes was answered with 200.
async function hop(plan, index) {
  const nodes = plan.split('|').map((node) => node.split(';'));
  const [, , before, after, mode, children] = nodes[index];
  const call = async (child) => {
    const [port, target] = nodes[child];
    const answer = await get(`http://127.0.0.1:${port}${target}`, { 'X-Plan': plan, 'X-Node': child });
    return answer.status === 200;
  };
  await sleep(Number(before));
  let good = true;
  const calls = children.split(',').filter(Boolean);
  if (mode === 'p') good = (await Promise.all(calls.map(call))).every(Boolean);
  else for (const child of calls) good = (await call(child)) && good;
  await sleep(Number(after));
  return good;
}

async function* pieces(n, ms, sse) {
  for (let i = 1; i <= n; i++) {
    if (i > 1) await sleep(ms);
    yield sse ? `data: piece ${i}\n\n` : `piece ${i}\n`;
  }
}

function* bytes(size) {
  for (let left = size; left > 0; left -= buffer.length) yield buffer.subarray(0, Math.min(left, buffer.length));
}

async function size(body) {
  let total = 0;
  for await (const piece of body) total += piece.length;
  return total;
}

function burn(ms) {
  const cpu = () => {
    const { user, system } = (process.threadCpuUsage ?? process.cpuUsage).call(process);
    return (user + system) * 1000;
  };
  const began = cpu();
  while (cpu() - began < ms * 1e6);
  return `cpu_ns=${cpu() - began}\n`;
}

// Writes its line when the answer is over.
function record(url, response) {
  const started = process.hrtime.bigint();
  if (truth !== null) {
    response.once('close', () => {
      const times = `"started_ns":${started},"ended_ns":${process.hrtime.bigint()}`;
      fs.writeSync(truth, `{"path":${JSON.stringify(url)},"pid":${process.pid},${times}}\n`);
    });
  }
}

module.exports = { NEXT, address, buffer, burn, bytes, fan, get, hop, pieces, record, size, sleep, withoutMark };

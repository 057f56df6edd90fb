// The function in Express. Contract: ../CONTRACT.md.
'use strict';

const { Readable } = require('stream');
const { pipeline } = require('stream/promises');
const express = require('express');
const contract = require('./contract');

const app = express();
app.disable('x-powered-by');
app.disable('etag');

app.use((request, response, next) => {
  contract.record(request.url, response);
  request.url = contract.withoutMark(request.url);
  next();
});

const text = (response, body, status = 200) => response.status(status).type('text/plain').send(body);
const number = (request, parameter) => Number(request.query[parameter] ?? 0);

app.get('/hello', (request, response) => text(response, 'hello from express\n'));

app.get('/delay', async (request, response) => {
  await contract.sleep(number(request, 'ms'));
  text(response, `delayed ${number(request, 'ms')}\n`);
});

app.get('/stream', async (request, response) => {
  const sse = number(request, 'sse');
  response.type(sse ? 'text/event-stream' : 'text/plain');
  for await (const piece of contract.pieces(number(request, 'n'), number(request, 'ms'), sse)) {
    if (response.destroyed) return;
    response.write(piece);
  }
  response.end();
});

app.get('/big', async (request, response) => {
  response.type('text/plain').set('Content-Length', number(request, 'bytes'));
  await pipeline(Readable.from(contract.bytes(number(request, 'bytes'))), response);
});

app.post('/upload', async (request, response) => {
  const size = await contract.size(request);
  await contract.sleep(number(request, 'delay'));
  text(response, `bytes=${size}\n`);
});

app.get('/error', (request, response) => {
  const status = number(request, 'status');
  if (status === 204 || status === 304) response.status(status).end();
  else text(response, `status ${status}\n`, status);
});

app.get('/abort', (request, response) => {
  response.type('text/plain').set('Content-Length', 1000);
  response.write(contract.buffer.subarray(0, 100), () => response.destroy());
});

app.get('/chain', async (request, response) => {
  const answer = await contract.get(contract.NEXT + request.query.path);
  text(response, answer.body, answer.status);
});

app.get('/fan', async (request, response) => {
  text(response, await contract.fan(number(request, 'n'), request.query.path));
});

app.get(/^\/hop\//, async (request, response) => {
  const good = await contract.hop(request.get('X-Plan'), request.get('X-Node'));
  if (good) text(response, 'ok\n');
  else text(response, 'a child failed\n', 502);
});

app.get('/burn', (request, response) => text(response, contract.burn(number(request, 'ms'))));

app.get('/echo-headers', (request, response) => {
  const raw = request.rawHeaders;
  text(response, raw.map((part, i) => (i % 2 ? `${part}\n` : `${part}: `)).join(''));
});

const { port, host, backlog } = contract.address;
const server = app.listen(port, host, backlog, () => console.log('listening', server.address().port));

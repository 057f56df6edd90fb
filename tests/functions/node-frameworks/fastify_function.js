// The function in Fastify. Contract: ../CONTRACT.md.
'use strict';

const { Readable } = require('stream');
const contract = require('./contract');

const app = require('fastify')({
  rewriteUrl: (request) => contract.withoutMark(request.url),
  bodyLimit: 2 ** 40,
});

app.addHook('onRequest', async (request, reply) => contract.record(request.originalUrl, reply.raw));
// Bodies of any type are read by the handler.
app.addContentTypeParser('*', (request, payload, done) => done(null, payload));

const text = (reply, body, status = 200) => reply.code(status).type('text/plain').send(body);
const number = (request, parameter) => Number(request.query[parameter] ?? 0);

app.get('/hello', (request, reply) => text(reply, 'hello from fastify\n'));

app.get('/delay', async (request, reply) => {
  await contract.sleep(number(request, 'ms'));
  return text(reply, `delayed ${number(request, 'ms')}\n`);
});

app.get('/stream', (request, reply) => {
  const sse = number(request, 'sse');
  const pieces = contract.pieces(number(request, 'n'), number(request, 'ms'), sse);
  reply.type(sse ? 'text/event-stream' : 'text/plain').send(Readable.from(pieces));
});

app.get('/big', (request, reply) => {
  const size = number(request, 'bytes');
  reply.type('text/plain').header('Content-Length', size).send(Readable.from(contract.bytes(size)));
});

app.post('/upload', async (request, reply) => {
  // A body of nothing has no type, and is not parsed.
  const size = await contract.size(request.body ?? request.raw);
  await contract.sleep(number(request, 'delay'));
  return text(reply, `bytes=${size}\n`);
});

app.get('/error', (request, reply) => {
  const status = number(request, 'status');
  return status === 204 || status === 304 ? reply.code(status).send() : text(reply, `status ${status}\n`, status);
});

app.get('/abort', (request, reply) => {
  reply.hijack();
  reply.raw.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 1000 });
  reply.raw.write(contract.buffer.subarray(0, 100), () => reply.raw.destroy());
});

app.get('/chain', async (request, reply) => {
  const answer = await contract.get(contract.NEXT + request.query.path);
  return text(reply, answer.body, answer.status);
});

app.get('/fan', async (request, reply) => text(reply, await contract.fan(number(request, 'n'), request.query.path)));

app.get('/hop/*', async (request, reply) => {
  const good = await contract.hop(request.headers['x-plan'], request.headers['x-node']);
  return good ? text(reply, 'ok\n') : text(reply, 'a child failed\n', 502);
});

app.get('/burn', (request, reply) => text(reply, contract.burn(number(request, 'ms'))));

app.get('/echo-headers', (request, reply) => {
  const raw = request.raw.rawHeaders;
  return text(reply, raw.map((part, i) => (i % 2 ? `${part}\n` : `${part}: `)).join(''));
});

app.listen(contract.address).then(() => console.log('listening', app.server.address().port));

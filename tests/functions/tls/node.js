// HTTPS by Node's https module, which keeps what TLS reads and writes in memory of its own. Calls the next one for each
// request, over kept connections, where NEXT_PORT names it. CERTIFICATE: a PEM file with certificate and key.
'use strict';

const fs = require('fs');
const https = require('https');

const { NEXT_PORT, CERTIFICATE } = process.env;
const both = fs.readFileSync(CERTIFICATE);
const agent = new https.Agent({ keepAlive: true, ca: both });

function call(path) {
  const options = { agent, host: 'localhost', port: Number(NEXT_PORT), path };
  return new Promise((done, failed) => {
    const request = https.get(options, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => done(Buffer.concat(pieces)));
    });
    request.on('error', failed);
  });
}

const server = https.createServer({ key: both, cert: both }, (request, response) => {
  request.resume();
  request.on('end', async () => {
    const body = NEXT_PORT ? await call(request.url) : Buffer.from('hello');
    response.setHeader('Set-Cookie', 'session=canary');
    response.setHeader('Content-Length', body.length);
    response.end(body);
  });
});
server.listen(0, '127.0.0.1', () => console.log('listening', server.address().port));

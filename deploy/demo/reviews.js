// Reviews of a book, with stars asked from ratings. Standard library only.
'use strict';
const http = require('node:http');

const port = Number(process.env.PORT || 9080);
const version = process.env.SERVICE_VERSION || 'v2';

function ask(url) {
  return new Promise((resolve, reject) => {
    http.get(url, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => { text += part; });
      answer.on('end', () => (answer.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text))));
    }).on('error', reject);
  });
}

http.createServer(async (request, response) => {
  const reply = (status, value) => {
    const body = `${JSON.stringify(value)}\n`;
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
    response.end(body);
  };
  try {
    const answer = { service: 'reviews', version, language: 'JavaScript', text: 'A fine read.' };
    if (request.url !== '/healthz') {
      const book = request.url.split('/').pop();
      answer.stars = (await ask(`http://ratings:9080/ratings/${book}`)).stars;
    }
    reply(200, answer);
  } catch (error) {
    reply(502, { error: 502, reason: String(error.message) });
  }
}).listen(port, '0.0.0.0');

// The back end that the broker replaces, in its shape: Express 4, jsonwebtoken (HS256), limits per user
// and endpoint in Maps, the global fetch, and controllers that parse Notion's JSON and write it again.
// It opens no sealed token, records nothing and asks no database: the broker does all of these.
'use strict';
const express = require('express');
const jwt = require('jsonwebtoken');

const [port, upstream, secret, scale] = process.argv.slice(2);
const windows = new Map();

function isWithin(key, max) {
  const now = Date.now();
  const seen = windows.get(key);
  if (seen === undefined || now - seen.since >= 60000) {
    windows.set(key, { since: now, count: 1 });
    return true;
  }
  seen.count += 1;
  return seen.count <= max * Number(scale);
}

function authenticate(request, response, next) {
  const given = request.headers.authorization || '';
  try {
    request.user = jwt.verify(given.replace('Bearer ', ''), secret, { algorithms: ['HS256'] });
  } catch {
    return response.status(401).json({ error: 'unauthorized' });
  }
  return next();
}

function limit(request, response, next) {
  const { sub } = request.user;
  if (!isWithin(sub, 120) || !isWithin(`${sub}:pages`, 30)) {
    return response.status(429).json({ error: 'too many requests' });
  }
  return next();
}

const app = express();
app.use(express.json({ limit: '100kb' }));
app.get('/api/notion/proxy/v1/pages/:id', authenticate, limit, async (request, response) => {
  const answer = await fetch(`${upstream}/v1/pages/${encodeURIComponent(request.params.id)}`, {
    headers: { Authorization: 'Bearer x', 'Notion-Version': '2026-03-11' },
    signal: AbortSignal.timeout(30000),
  });
  response.status(answer.status).json(await answer.json());
});
app.listen(Number(port), '127.0.0.1');
